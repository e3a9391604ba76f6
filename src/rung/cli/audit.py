"""``rung audit``: the log of who asked what, and the proof that nobody edited it."""

from __future__ import annotations

import click

from rung.cli.frame import EXIT_NOT_MET, client, fail, show, state, verb


@click.group("audit", short_help="Who asked what, when, with which outcome.")
def command() -> None:
    """Who asked what, when, with which outcome."""


@command.command("list")
@click.option("--limit", default=30, show_default=True, help="How many events, newest first.")
@click.option("--operation", help="Only this operation, e.g. registry.promote.")
@click.option("--principal", help="Only what this principal asked.")
@verb
def list_events(limit: int, operation: str | None, principal: str | None) -> None:
    """Audit events, newest first.

    \b
    Example: rung audit list --operation registry.promote
    """
    page = client().governance.audit(limit=limit, operation=operation, principal=principal)
    show(page, ("seq", "at", "principal", "operation", "target", "outcome", "code"))


@command.command("verify")
@verb
def verify() -> None:
    """Re-compute the chain of digests over the whole log; exit code 3 if it does not hold.

    \b
    Example: rung audit verify
    """
    report = client().governance.verify_audit()
    if state().json:
        show(report)
    elif report.intact:
        click.echo(f"{report.events} events, chain intact, head {report.head}")
    if not report.intact:
        fail(
            f"The audit log does not hold at event {report.broken_at}: {report.reason}",
            code=EXIT_NOT_MET,
            hint="Compare with a backup of the database.",
        )
