"""``rung principal``: who may work in the project, and as what."""

from __future__ import annotations

import click

from rung.cli.frame import client, show, verb

ROLES = click.Choice(["viewer", "node", "editor", "service", "maintainer", "owner"])


@click.group("principal", short_help="Who may work in the project, and as what.")
def command() -> None:
    """Who may work in the project, and as what."""


@command.command("create")
@click.argument("name")
@click.option("--role", type=ROLES, default="viewer", show_default=True)
@click.option("--service", is_flag=True, help="A service account instead of a person.")
@verb
def create(name: str, role: str, service: bool) -> None:  # noqa: FBT001 - click passes options by name
    """Make a person or a service account known.

    \b
    Example: rung principal create ci --service --role service
    """
    show(client().governance.create_principal(name, kind="service" if service else "user", role=role))  # type: ignore[arg-type]


@command.command("role")
@click.argument("name")
@click.argument("role", type=ROLES)
@verb
def set_role(name: str, role: str) -> None:
    """Give a principal another role on this project.

    \b
    Example: rung principal role ann maintainer
    """
    show(client().governance.set_role(name, role))  # type: ignore[arg-type]


@command.command("list")
@verb
def list_principals() -> None:
    """Members of the project.

    \b
    Example: rung principal list
    """
    show(client().governance.principals(), ("principal", "role"))
