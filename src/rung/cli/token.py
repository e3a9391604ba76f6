"""``rung token``: make, list and revoke tokens."""

from __future__ import annotations

import click

from rung.cli.frame import client, note, show, state, verb


@click.group("token", short_help="Make, list and revoke tokens.")
def command() -> None:
    """Make, list and revoke tokens."""


@command.command("create")
@click.argument("principal")
@click.option("--label", default="", help="What it is for.")
@click.option("--days", default=90, show_default=True, help="Days until it expires.")
@verb
def create(principal: str, label: str, days: int) -> None:
    """A token for a principal; the secret is shown this once.

    \b
    Example: rung token create ci --label "nightly build" --days 30
    """
    made = client().governance.create_token(principal, label=label, days=days)
    if state().json:
        show(made)
        return
    note("Keep it now, it is not shown again:")
    click.echo(made.secret)


@command.command("list")
@verb
def list_tokens() -> None:
    """Tokens of the project, without secrets.

    \b
    Example: rung token list
    """
    show(client().governance.tokens(), ("id", "principal", "label", "created_at", "expires_at", "revoked_at"))


@command.command("revoke")
@click.argument("token")
@verb
def revoke(token: str) -> None:
    """Make a token worthless at once.

    \b
    Example: rung token revoke 01a1fbb3f9937000b300c55d9cbfbbff
    """
    show(client().governance.revoke_token(token))
