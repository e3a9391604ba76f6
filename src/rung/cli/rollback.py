"""``rung rollback``: go back to what served before."""

from __future__ import annotations

import click

from rung.cli.frame import client, show, verb


@click.command("rollback", short_help="Go back to what a deployment served before.")
@click.argument("name")
@click.option("--to", type=int, help="Revision to return to; default the newest with another version.")
@click.option("--drill", is_flag=True, help="Practise it: go back, and return at once.")
@click.option("--reason", default="", help="Why; kept with the revision.")
@verb
def command(name: str, to: int | None, drill: bool, reason: str) -> None:  # noqa: FBT001 - click passes options by name
    """Go back to what a deployment served before.

    \b
    Example: rung rollback churn
    Example: rung rollback churn --drill
    """
    revision = client().serving.rollback(name, to=to, drill=drill, reason=reason)
    show(revision, ("deployment", "number", "routes", "change", "reason", "duration_ms"))
