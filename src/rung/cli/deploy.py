"""``rung deploy``: serve a model version."""

from __future__ import annotations

from typing import Any

import click

from rung.cli.endpoint import show_changes, show_revision
from rung.cli.frame import EXIT_USAGE, client, fail, note, verb


def share_of(text: str) -> float:
    """A share from ``10%`` or ``0.1``."""
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        fail(f"{text!r} is not a share.", hint="Write 10% or 0.1; less than 100%.", code=EXIT_USAGE)
    return share


def model_of(text: str) -> tuple[str, int | None, str | None]:
    """Model, number and alias from ``churn``, ``churn:3`` or ``churn@champion``."""
    if "@" in text:
        model, _, alias = text.partition("@")
        return model, None, alias
    model, colon, number = text.partition(":")
    if colon and not number.isdigit():
        fail(f"{text!r} names no version.", hint="Write MODEL, MODEL:3 or MODEL@champion.", code=EXIT_USAGE)
    return model, int(number) if colon else None, None


@click.command("deploy", short_help="Serve a model version under a name.")
@click.argument("version", metavar="MODEL[:N|@ALIAS]")
@click.option("--name", help="Name of the deployment; default the model's.")
@click.option("--env", "environment", default="production", show_default=True, help="Environment of a new deployment.")
@click.option("--canary", help="Share of traffic for a trial beside what serves now, e.g. 10%.")
@click.option("--grow", is_flag=True, help="Let the canary grow by its gates, and go back by itself when one fails.")
@click.option("--steps", help="Shares it grows by, e.g. 5%,25%,100%; default the deployment's plan.")
@click.option("--step-rows", type=int, help="Rows a step must see before it is judged.")
@click.option("--shadow", is_flag=True, help="Answer copies of all requests, and nobody hears it.")
@click.option("--plan", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--promote", is_flag=True, help="Make the canary under way the stable version.")
@click.option("--abort", is_flag=True, help="Take the canary or shadow under way out of traffic.")
@click.option("--watch", is_flag=True, help="Watch it too, in weekly windows, if nobody does yet.")
@click.option("--reason", default="", help="Why; kept with the revision.")
@click.option("--override", "override_reason", default="", help="Deploy without a passing verdict, for this reason.")
@verb
def command(
    version: str, name: str | None, environment: str, canary: str | None, grow: bool, steps: str | None, step_rows: int | None,  # noqa: FBT001
    shadow: bool, plan: bool, promote: bool, abort: bool, watch: bool, reason: str, override_reason: str,  # noqa: FBT001
) -> None:  # fmt: skip
    """Serve a model version under a name; or start, promote or abort a canary beside it.

    \b
    Example: rung deploy churn@champion --name churn
    Example: rung deploy churn:4 --name churn --canary 10%
    Example: rung deploy churn:4 --name churn --canary 5% --grow
    Example: rung deploy churn --promote
    """
    model, number, alias = model_of(version)
    name = name or model
    verbs = client().serving
    why: dict[str, Any] = {"reason": reason, "override_reason": override_reason}
    fields: dict[str, Any]
    if promote:
        ask, fields = "promote_canary", why
    elif abort:
        ask, fields = "abort_canary", {"reason": reason}
    elif canary is not None or shadow:
        if number is None:
            number = client().registry.version(model, alias=alias).number
        share = 0.0 if shadow else share_of(canary or "0")
        ask, fields = (
            "start_canary",
            {"model": model, "number": number, "share": share, **_growth(verbs, name, grow, steps, step_rows), **why},
        )
    else:
        ask, fields = "deploy", {"model": model, "number": number, "alias": alias, "environment": environment, **why}
    if plan:
        show_changes(verbs.plan(ask, name, **fields))
        return
    if promote:
        judged = verbs.judge_canary(name)
        note(f"canary {judged.outcome}: {' '.join(judged.reasons)}")
    revision = getattr(verbs, ask)(name, **fields)
    if watch and all(monitor.deployment != name for monitor in client().monitoring.monitors()):
        client().monitoring.add(name)
        note(f"Watched in weekly windows: rung monitor run {name}")
    show_revision(revision)
    note(f"It grows by its gates: rung rollout status {name}" if fields.get("grow") else f"Ask it: rung predict {name} rows.csv")


def _growth(verbs: Any, name: str, grow: bool, steps: str | None, step_rows: int | None) -> dict[str, Any]:  # noqa: FBT001
    """What makes a canary grow: the deployment's plan with what was asked for otherwise."""
    if not grow and steps is None and step_rows is None:
        return {}
    from rung.core.records import replaced  # noqa: PLC0415 - the CLI starts without it
    from rung.serving.options import RolloutPlan  # noqa: PLC0415 - the same

    plan = verbs.get(name).options.rollout or RolloutPlan()
    shares = plan.steps if steps is None else tuple(1.0 if step.strip() in {"100%", "1"} else share_of(step) for step in steps.split(","))
    return {"grow": True, "plan": replaced(plan, steps=shares, step_rows=step_rows or plan.step_rows)}
