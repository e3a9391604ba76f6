"""``rung retrain``: policies and decisions."""

from __future__ import annotations

import click

from rung.cli.frame import client, note, show, state, verb

_COLUMNS = ("number", "deployment", "model", "version", "action", "cause", "policy", "cost", "as_of")


@click.group("retrain", short_help="Retraining policies, decisions and what they brought.")
def command() -> None:
    """Retraining policies, decisions and what they brought."""


@command.command("policy")
@click.argument("model")
@click.argument("policy", required=False)
@click.option("--reason", help="Why this one; asked for when it is set.")
@click.option("--margin", type=float, help="Times the cost that the gain must cover.")
@click.option("--horizon", "horizon_periods", type=float, help="Periods the gain is counted over.")
@click.option("--period-days", type=int, help="Days in a period.")
@click.option("--cooldown-days", type=float, help="Days between retrainings.")
@click.option("--budget", "budget_per_month", type=int, help="Most retrainings a month.")
@click.option("--min-labelled", type=float, help="Share of due rows that must have a label.")
@click.option("--people-hours", type=float, help="Hours of work a retraining takes.")
@verb
def policy(model: str, policy: str | None, reason: str | None, **numbers: float | None) -> None:
    """Show a model's retraining policy, or choose one.

    \b
    Example: rung retrain policy late-flights diagnosed_with_cost --reason "Labels come in a day"
    """
    if policy is None:
        show(client().value.policy(model))
        return
    if not reason:
        raise click.UsageError("Choosing a policy needs --reason.")
    from rung.value.records import PolicySettings  # noqa: PLC0415 - `rung --help` must not pay for it

    given = {name: value for name, value in numbers.items() if value is not None}
    show(client().value.set_policy(model, policy, reason=reason, settings=PolicySettings(**given)))  # type: ignore[arg-type]


@command.command("plan")
@click.option("--incident", help="Number or id of a diagnosed incident.")
@click.option("--deployment", help="A deployment, when there is no incident.")
@click.option("--challenger", type=int, help="Version to compare with, trained on older rows only.")
@click.option("--apply", is_flag=True, help="Keep the decision, which starts what it decides; without it, a dry run.")
@verb
def plan(incident: str | None, deployment: str | None, challenger: int | None, apply: bool) -> None:  # noqa: FBT001 - see value.report
    """What the policy would decide now, with gain, cost and reasons.

    \b
    Example: rung retrain plan --incident 3
    """
    made = client().value.decide(incident, deployment=deployment, challenger=challenger, dry_run=not apply)
    if state().json:
        show(made)
        return
    show(made, ("deployment", "model", "version", "action", "cause", "curable", "policy", "gain_basis", "cost", "margin"))
    if made.expected_gain:
        gain = made.expected_gain
        click.echo(
            f"expected gain {gain.estimate:.2f} ({gain.low:.2f} to {gain.high:.2f}) {made.currency} over {made.horizon_periods:g} periods"
        )
    for reason in made.reasons:
        click.echo(reason)
    if not apply:
        note("A dry run: nothing was kept. --apply keeps it.")


@command.command("list")
@click.option("--model")
@verb
def list_decisions(model: str | None) -> None:
    """Decisions, newest first.

    \b
    Example: rung retrain list
    """
    show(client().value.decisions(model=model), _COLUMNS, empty="No decisions yet: rung retrain plan --incident NUMBER")


@command.command("show")
@click.argument("decision")
@verb
def show_decision(decision: str) -> None:
    """One decision with its evidence.

    \b
    Example: rung retrain show 2
    """
    show(client().value.decision(decision))


@command.command("review")
@click.argument("decision")
@verb
def review(decision: str) -> None:
    """What a retraining really changed, on rows that have matured since.

    \b
    Example: rung retrain review 2
    """
    show(client().value.realise(decision))
