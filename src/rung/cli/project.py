"""``rung project``: spaces in which names are unique and rights are given."""

from __future__ import annotations

import click

from rung.cli.frame import client, show, verb


@click.group("project", short_help="Spaces in which names are unique and rights are given.")
def command() -> None:
    """Spaces in which names are unique and rights are given."""


@command.command("create")
@click.argument("name")
@verb
def create(name: str) -> None:
    """A new project that you own.

    \b
    Example: rung project create churn
    """
    show(client().governance.create_project(name))


@command.command("list")
@verb
def list_projects() -> None:
    """Projects you are a member of.

    \b
    Example: rung project list
    """
    show(client().governance.projects(), ("name", "id", "created_at"))
