"""``rung maturity``: levels proved by records, what is missing, what to do next."""

from __future__ import annotations

import sys

import click

from rung.cli.frame import EXIT_NOT_MET, client, note, show, state, table, verb

_SCALES = click.Choice(["google", "microsoft", "five"])


@click.group("maturity", short_help="Maturity levels with their evidence.", invoke_without_command=True)
@click.option("--all", "every", is_flag=True, help="Show every criterion.")
@click.option("--fail-under", multiple=True, metavar="SCALE=LEVEL", help="End with exit code 3 below this level; may be repeated.")
@click.option("--keep", is_flag=True, help="Keep the levels as a point of the history.")
@click.pass_context
@verb
def command(context: click.Context, every: bool, fail_under: tuple[str, ...], keep: bool) -> None:  # noqa: FBT001 - click passes by name
    """Levels on four scales, proved by this project's own records.

    \b
    Example: rung maturity --fail-under google=1
    """
    if context.invoked_subcommand:
        return
    told = client().maturity.assess() if keep else client().maturity.assessment()
    floors = [_floor(item) for item in fail_under]
    if state().json:
        show(told)
    else:
        _draw(told, every=every)
    levels: dict[str, int] = {item.scale: item.level for item in told.scales}
    below = [f"{scale} is {levels[scale]}, asked for is {level}" for scale, level in floors if levels[scale] < level]
    if below:
        click.echo("; ".join(below) + ".", err=True)
        sys.exit(EXIT_NOT_MET)


def _floor(text: str) -> tuple[str, int]:
    scale, _, level = text.partition("=")
    if scale not in _SCALES.choices or not level.isdigit():
        raise click.UsageError(f"--fail-under takes SCALE=LEVEL with SCALE one of {', '.join(_SCALES.choices)}, not {text!r}.")
    return scale, int(level)


def _draw(told: object, *, every: bool) -> None:
    from rung.maturity.records import Assessment  # noqa: PLC0415 - `rung --help` must not pay for it

    assert isinstance(told, Assessment)  # noqa: S101 - for the type checker; both verbs answer with one
    table(("always", "status", "why"), [(f"{row.id} {row.text}", row.status, row.reason) for row in told.always])
    scales = [
        (f"{s.title}", f"{s.reached:.1f} of {s.top}", s.name, f"{s.next_held}/{s.next_total}", " ".join(s.missing)) for s in told.scales
    ]
    score = told.test_score
    scales.append(("ML Test Score", f"{score.final:g} of 7", score.band, "", " ".join(f"{k}={v:g}" for k, v in score.sections.items())))
    table(("scale", "reached", "name", "next", "missing"), scales)
    if every:
        table(("id", "status", "criterion", "why"), [(row.id, row.status, row.text, row.reason) for row in told.criteria])
    for step in told.steps:
        command_line = f"planned: {step.command}" if step.planned else step.command
        click.echo(f"next  {', '.join(step.criteria)}: {step.text}\n      {step.gain}\n      {command_line}")
    for line in told.notes:
        note(line)


@command.command("target")
@click.argument("scale", type=_SCALES)
@click.argument("level", type=int)
@click.option("--reason", required=True, help="Why that is enough.")
@click.option("--review-days", default=180, show_default=True)
@verb
def target(scale: str, level: int, reason: str, review_days: int) -> None:
    """Say which level is enough for this project, and why.

    \b
    Example: rung maturity target google 1 --reason "One model, monthly releases"
    """
    show(client().maturity.set_target(scale, level, reason=reason, review_days=review_days))  # type: ignore[arg-type]


@command.command("history")
@verb
def history() -> None:
    """Kept levels, oldest first.

    \b
    Example: rung maturity history
    """
    show(client().maturity.history(), ("at", "levels", "test_score", "passed", "by"), empty="Nothing kept yet: rung maturity --keep")


@command.command("show")
@click.argument("criterion")
@verb
def show_criterion(criterion: str) -> None:
    """One criterion: what is asked of the records, and what they say.

    \b
    Example: rung maturity show O01
    """
    from rung.core.errors import NotFound  # noqa: PLC0415 - see _draw

    for row in client().maturity.assessment().criteria:
        if row.id == criterion.upper():
            show(row)
            return
    raise NotFound(f"There is no criterion {criterion!r}.", code="maturity.no_criterion", hint="`rung maturity --all` lists them.")
