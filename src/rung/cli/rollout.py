"""``rung rollout``: a canary that grows by its gates."""

from __future__ import annotations

import click

from rung.cli.endpoint import show_revision
from rung.cli.frame import client, note, show, state, table, verb


@click.group("rollout", short_help="A canary that grows by its gates.")
def command() -> None:
    """A canary that grows by its gates: how far it is, why it waits, and the brakes."""


@command.command("status")
@click.argument("name", required=False)
@verb
def status(name: str | None) -> None:
    """How far a canary has grown, and what its gates found; without a name, every canary under way.

    \b
    Example: rung rollout status churn
    """
    verbs = client().serving
    if name is None:
        show(
            verbs.rollouts(active=True),
            ("deployment", "model", "number", "state", "share", "looks", "step_at"),
            empty="No canary is growing: rung deploy MODEL:N --name NAME --canary 5% --grow",
        )
        return
    verbs.get(name)
    held = verbs.rollouts(name)
    looks = verbs.judgements(name, held[0].id) if held else ()
    if state().json:
        show({"rollout": held[0] if held else None, "judgements": looks})
        return
    if not held:
        note(f"No canary of {name} grew by gates yet: rung deploy MODEL:N --name {name} --canary 5% --grow")
        return
    rollout = held[0]
    steps = ", ".join(f"{share:.0%}" for share in rollout.plan.steps)
    note(
        f"{rollout.model}:{rollout.number} is {rollout.state.replace('_', ' ')} at {rollout.share:.0%} (steps {steps}). {rollout.reason}".rstrip()
    )
    if rollout.latest is not None:
        findings = [(f.gate, f.outcome, _figure(f.figure), _figure(f.limit), f.reason) for f in rollout.latest.findings]
        table(("gate", "outcome", "figure", "limit", "why"), findings, title=f"Look {rollout.latest.look}")
    if not looks:
        note(f"Nobody looked at it yet: a step is judged from {rollout.plan.step_rows} rows of the canary on.")
        return
    table(
        ("look", "share", "rows", "labels", "outcome", "action", "at"),
        [(x.look, f"{x.share:.0%}", x.canary_rows, x.labelled_rows, x.outcome, x.action.replace("_", " "), x.created_at) for x in looks],
        title="Looks",
    )


@command.command("look")
@click.argument("name")
@verb
def look(name: str) -> None:
    """Look at a growing canary now, with the labels known now; the engine does it by itself.

    \b
    Example: rung rollout look churn
    """
    show(client().serving.weigh_rollout(name), ("deployment", "model", "number", "state", "share", "looks", "reason"))


@command.command("pause")
@click.argument("name")
@click.option("--reason", default="", help="Why; kept with the rollout.")
@verb
def pause(name: str, reason: str) -> None:
    """Keep a growing canary at its share; a gate that fails still takes it back.

    \b
    Example: rung rollout pause churn --reason "release freeze"
    """
    show(client().serving.pause_rollout(name, reason=reason), ("deployment", "model", "number", "state", "share", "reason"))


@command.command("resume")
@click.argument("name")
@click.option("--reason", default="", help="Why; kept with the rollout.")
@verb
def resume(name: str, reason: str) -> None:
    """Let a paused canary grow on.

    \b
    Example: rung rollout resume churn
    """
    show(client().serving.resume_rollout(name, reason=reason), ("deployment", "model", "number", "state", "share", "reason"))


@command.command("abort")
@click.argument("name")
@click.option("--reason", default="", help="Why; kept with the revision.")
@verb
def abort(name: str, reason: str) -> None:
    """Take a growing canary out of traffic.

    \b
    Example: rung rollout abort churn --reason "wrong features"
    """
    show_revision(client().serving.abort_rollout(name, reason=reason))


def _figure(value: float) -> str:
    return f"{value:.4g}" if value == value else ""  # noqa: PLR0124 - a figure that could not be known is not equal to itself
