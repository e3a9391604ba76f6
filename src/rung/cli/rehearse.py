"""``rung rehearse``: history replayed under several retraining policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rung.cli.frame import client, note, show, state, table, verb

if TYPE_CHECKING:
    from rung.value.records import Rehearsal


@click.command("rehearse", short_help="Compare retraining policies on history.")
@click.argument("model")
@click.argument("number", type=int, required=False)
@click.option("--dataset", help="NAME or NAME:NUMBER of the history; runs a rehearsal. Without it, the newest kept one is shown.")
@click.option("--train", help="module:function that gets the rows before an instant and returns a fitted estimator.")
@click.option("--time", "time_column", default="time", show_default=True, help="Column of the event time.")
@click.option("--label", default="label", show_default=True, help="Column of the truth.")
@click.option("--every", default="1mo", show_default=True, help="Length of a period, such as 1mo or 1w.")
@click.option("--first", default=2, show_default=True, help="Number of the first period served.")
@click.option("--delay", default=0, show_default=True, help="Periods until labels are known.")
@click.option("--cost", type=float, help="Money of one retraining.")
@click.option("--periods", is_flag=True, help="Show every period too.")
@verb
def command(model: str, number: int | None, dataset: str | None, train: str | None, periods: bool, **how: object) -> None:  # noqa: FBT001
    """Compare never, on a calendar, on drift, on performance, and diagnosed with cost.

    \b
    Example: rung rehearse late-flights --dataset flights --train training:fit --time time_hour --label late
    """
    held = _run(model, dataset, train, how) if dataset else client().value.rehearsal(model, number)
    if state().json:
        show(held)
        return
    rows = [
        (item.policy, item.retrainings, item.gross, item.cost, item.net, f"{item.advantage.low:.1f} to {item.advantage.high:.1f}" if item.advantage else "")
        for item in held.outcomes
    ]  # fmt: skip
    title = f"{held.model}: rehearsal {held.number}, in {held.currency}"
    table(("policy", "retrainings", "gross", "cost", "net", "diagnosed is ahead by"), rows, title=title)
    if periods:
        table(
            ("policy", "period", "rows", "action", "score", "net"),
            [(o.policy, p.period, p.rows, p.action, p.score, p.net) for o in held.outcomes for p in o.periods],
        )
    note(f"{held.basis}. Best: {held.best}.")


def _run(model: str, dataset: str, train: str | None, how: dict[str, object]) -> Rehearsal:
    import sys  # noqa: PLC0415 - only a rehearsal runs the user's function
    from importlib import import_module  # noqa: PLC0415

    module, _, function = (train or "").partition(":")
    if not function:
        raise click.UsageError("A rehearsal needs --train module:function.")
    sys.path.insert(0, "")
    try:
        fit = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise click.UsageError(f"{train} cannot be imported: {error}") from None
    name, _, number = dataset.partition(":")
    history = client().data.frame(name, int(number) if number else None)
    return client().value.rehearse(model, history, fit, **how)  # type: ignore[arg-type]
