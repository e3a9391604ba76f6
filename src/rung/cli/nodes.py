"""``rung nodes``: the inference nodes of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rung.cli.frame import client, note, show, state, table, verb

if TYPE_CHECKING:
    from rung.serving.node_records import InferenceNode


@click.command("nodes", short_help="Inference nodes: what each serves, and whether its log has arrived.")
@click.argument("deployment", required=False)
@verb
def command(deployment: str | None) -> None:
    """Inference nodes of the project, or those that serve a deployment: revisions, since when, what is not shipped yet.

    \b
    Example: rung nodes churn
    """
    found = client().serving.nodes(deployment)
    if state().json or not found:
        show(found, empty="No node yet; start one: rung serve --platform URL.")
        return
    table(("node", "serves", "since", "seen", "not shipped", "behind", "trouble"), [_row(one) for one in found])
    for one in found:
        if abs(one.state.skew_s) > _SKEW_S:
            note(f"The clock of {one.state.name} is {one.state.skew_s:+.1f} s off the platform's.")


_SKEW_S = 5.0


def _row(one: InferenceNode) -> tuple[str, ...]:
    held = one.state
    serves = [f"{served.deployment}:{served.revision}" for served in held.serves] + [f"{name}: {why}" for name, why in held.failed.items()]
    since = max((served.since for served in held.serves), default=None)
    return (
        held.name, ", ".join(serves) or "nothing", f"{since:%Y-%m-%d %H:%M:%S}" if since else "",
        f"{one.seen_at:%Y-%m-%d %H:%M:%S}" + (" (silent)" if one.silent else ""), f"{held.waiting_bytes} B", f"{held.lag_s:.1f} s",
        held.trouble,
    )  # fmt: skip
