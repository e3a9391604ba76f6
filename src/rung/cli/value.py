"""``rung value``: what a model is worth, what it costs, what it earned."""

from __future__ import annotations

import click

from rung.cli.frame import client, note, show, state, table, verb

_KINDS = click.Choice(["compute", "serving", "storage", "labels", "people", "incidents", "other"])


@click.group("value", short_help="Value matrix, cost ledger, ROI report.")
def command() -> None:
    """What a model is worth, what it costs, what it earned."""


@command.command("set")
@click.argument("model")
@click.option("--tp", type=float, default=0.0, help="Money of a true positive.")
@click.option("--fp", type=float, default=0.0, help="Money of a false positive.")
@click.option("--fn", type=float, default=0.0, help="Money of a false negative.")
@click.option("--tn", type=float, default=0.0, help="Money of a true negative.")
@click.option("--over", type=float, default=0.0, help="Regression: money a unit predicted too high.")
@click.option("--under", type=float, default=0.0, help="Regression: money a unit predicted too low.")
@click.option("--free", type=float, default=0.0, help="Regression: error that costs nothing.")
@click.option("--before", "before_per_1000", type=float, help="What 1000 cases were worth before the model.")
@click.option("--currency", help="ISO 4217 code; default that of the rates.")
@click.option("--note", "told", default="", help="Where the amounts come from.")
@verb
def set_matrix(model: str, told: str, **amounts: float | str | None) -> None:
    """Say what each outcome of a model is worth; a new number, older ones stay.

    \b
    Example: rung value set late-flights --tp 12 --fp -4
    """
    show(client().value.set_matrix(model, note=told, **amounts))


@command.command("show")
@click.argument("model", required=False)
@verb
def show_matrix(model: str | None) -> None:
    """The value matrix of a model, or of all.

    \b
    Example: rung value show late-flights
    """
    if model:
        show(client().value.matrix(model))
    else:
        columns = ("model", "number", "currency", "tp", "fp", "fn", "tn", "over", "under")
        show(client().value.matrices(), columns, empty="No value matrix yet: rung value set MODEL --tp 12 --fp -4")


@command.command("goal")
@click.argument("model")
@click.option("--goal", help="Why the model exists.")
@click.option("--kpi", help="The figure it is judged by.")
@click.option("--owner", help="Who answers for it.")
@click.option("--backup", default="", help="Who does when the owner cannot.")
@verb
def goal(model: str, goal: str | None, kpi: str | None, owner: str | None, backup: str) -> None:
    """Show a model's goal, or write it down.

    \b
    Example: rung value goal late-flights --goal "Warn in time" --kpi "net value" --owner ann
    """
    if goal is None and kpi is None and owner is None:
        show(client().value.goal(model))
        return
    if not (goal and kpi and owner):
        raise click.UsageError("A goal needs --goal, --kpi and --owner.")
    show(client().value.set_goal(model, goal=goal, kpi=kpi, owner=owner, backup=backup))


@command.command("rates")
@verb
def rates() -> None:
    """Declared prices of the cost ledger; change them in rung.toml under [rates].

    \b
    Example: rung --set rates.cpu_hour=0.08 value rates
    """
    show(client().value.rates())


@command.group("cost")
def cost() -> None:
    """The cost ledger."""


@cost.command("add")
@click.argument("model")
@click.argument("kind", type=_KINDS)
@click.argument("amount", type=float, required=False)
@click.option("--hours", type=float, help="Hours of work instead of an amount.")
@click.option("--note", "told", required=True, help="What was paid for.")
@click.option("--at", "spent_at", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="When, in UTC; default now.")
@verb
def add(model: str, kind: str, amount: float | None, hours: float | None, told: str, spent_at: object) -> None:
    """Enter a cost that no record tells.

    \b
    Example: rung value cost add late-flights labels 120 --note "June labels"
    """
    from datetime import UTC, datetime  # noqa: PLC0415 - only where a date is given

    at = spent_at.replace(tzinfo=UTC) if isinstance(spent_at, datetime) else None
    show(client().value.add_cost(model, kind, note=told, amount=amount, hours=hours, spent_at=at))  # type: ignore[arg-type]


@cost.command("book")
@click.argument("model")
@verb
def book(model: str) -> None:
    """Enter what runs, serving and storage cost since the last time.

    \b
    Example: rung value cost book late-flights
    """
    show(client().value.book_costs(model), ("kind", "amount", "currency", "basis", "spent_at"), empty="Nothing new to book.")


@cost.command("list")
@click.argument("model", required=False)
@click.option("--kind", type=_KINDS)
@verb
def list_costs(model: str | None, kind: str | None) -> None:
    """The ledger, oldest first.

    \b
    Example: rung value cost list late-flights --kind people
    """
    show(client().value.costs(model, kind), ("model", "kind", "amount", "currency", "basis", "spent_at"))  # type: ignore[arg-type]


@command.command("report")
@click.argument("model")
@click.option("--deployment", help="Which deployment; default the one that serves the model.")
@click.option("--from", "start", type=click.DateTime(["%Y-%m-%d"]), help="First day.")
@click.option("--to", "end", type=click.DateTime(["%Y-%m-%d"]), help="Day after the last.")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="What was known then.")
@click.option("--last", is_flag=True, help="Show the newest kept report instead of making one.")
@verb
def report(model: str, deployment: str | None, last: bool, **times: object) -> None:  # noqa: FBT001 - click passes options by name
    """Compute and keep the value report: outcomes times matrix, less baseline, less costs.

    \b
    Example: rung value report late-flights --from 2013-03-01 --to 2013-04-01
    """
    show_report(model, deployment, last=last, **times)


def show_report(model: str, deployment: str | None, *, last: bool, **times: object) -> None:
    """Make or fetch the report and show it."""
    from datetime import UTC, datetime  # noqa: PLC0415 - as above

    at = {name: value.replace(tzinfo=UTC) for name, value in times.items() if isinstance(value, datetime)}
    made = client().value.get_report(model) if last else client().value.report(model, deployment=deployment, **at)
    if state().json:
        show(made)
        return
    head = (
        "deployment",
        "basis",
        "predictions",
        "matured_share",
        "gross",
        "baseline",
        "cost",
        "roi",
        "value_per_1000",
        "break_even_predictions",
    )
    show(made, head, title=f"{made.model}: value report {made.number}, in {made.currency}")
    click.echo(f"baseline: {made.basis.replace('_', ' ')}")
    money = made.incremental
    click.echo(f"incremental value {money.estimate:.2f} (95 %: {money.low:.2f} to {money.high:.2f}); net {made.net.estimate:.2f}")
    if made.threshold:
        click.echo(f"threshold {made.threshold.current:.3f}; {made.threshold.best:.3f} would have earned {made.threshold.lost:.2f} more")
    if made.pending:
        click.echo(f"not matured: {made.pending_rows} rows, about {made.pending.estimate:.2f}, not counted")
    held = made.holdout
    if held:
        click.echo(f"holdout: {held.treated} treated and {held.held} held out decisions with labels, by {held.by}")
        if held.difference:
            gap = held.difference
            click.echo(f"a treated decision earned {gap.estimate:.4f} more than a held out one (95 %: {gap.low:.4f} to {gap.high:.4f})")
    rows = [(m.month, m.predictions, m.matured_share, m.gross, m.baseline, m.incremental.estimate, m.cost, m.net) for m in made.months]
    table(("month", "rows", "matured", "gross", "baseline", "incremental", "cost", "net"), rows)
    table(("cost", "amount"), sorted(made.costs.items()))
    note(made.basis_note)
    if abs(made.undated_cost) > 1e-9:  # noqa: PLR2004 - less than any coin
        note(f"{made.undated_cost:.2f} of the cost belongs to no month of the predictions.")
