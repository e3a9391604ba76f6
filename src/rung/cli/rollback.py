"""``rung rollback``: go back to what served before."""

from __future__ import annotations

import click

from rung.cli.endpoint import show_changes, show_revision
from rung.cli.frame import client, verb


@click.command("rollback", short_help="Go back to what a deployment served before.")
@click.argument("name")
@click.option("--to", type=int, help="Revision to return to; default the one before the canary, or the newest with another version.")
@click.option("--drill", is_flag=True, help="Practise it: go back, and return at once.")
@click.option("--plan", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--reason", default="", help="Why; kept with the revision.")
@verb
def command(name: str, to: int | None, drill: bool, plan: bool, reason: str) -> None:  # noqa: FBT001 - click passes options by name
    """Go back to what a deployment served before, and to how it answered.

    \b
    Example: rung rollback churn
    Example: rung rollback churn --drill
    """
    if plan:
        show_changes(client().serving.plan("rollback", name, to=to))
        return
    revision = client().serving.rollback(name, to=to, drill=drill, reason=reason)
    show_revision(revision)
