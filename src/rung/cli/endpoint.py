"""``rung endpoint``: what is deployed."""

from __future__ import annotations

import click

from rung.cli.frame import client, show, state, table, verb


@click.group("endpoint", short_help="What is deployed, its revisions and traffic.")
def command() -> None:
    """What is deployed, its revisions and traffic."""


@command.command("list")
@verb
def list_deployments() -> None:
    """Deployments of the project.

    \b
    Example: rung endpoint list
    """
    show(
        client().serving.list(),
        ("name", "environment", "revision", "routes", "changed_at"),
        empty="Nothing is deployed: rung deploy MODEL --name NAME",
    )


@command.command("show")
@click.argument("name")
@verb
def show_deployment(name: str) -> None:
    """A deployment with its revisions and the rows it served.

    \b
    Example: rung endpoint show churn
    """
    verbs = client().serving
    held, revisions, served = verbs.get(name), verbs.revisions(name), verbs.served(name)
    if state().json:
        show({"deployment": held, "revisions": revisions, "served": served})
        return
    show(held, ("name", "environment", "revision", "routes"))
    table(
        ("revision", "change", "routes", "by", "at"),
        [(x.number, x.change, x.routes, x.created_by, x.created_at) for x in revisions],
        title="Revisions",
    )
    table(("version", "arm", "day", "rows", "errors"), [(x.number, x.arm, x.day, x.rows, x.errors) for x in served], title="Served")


@command.command("stop")
@click.argument("name")
@click.option("--reason", default="", help="Why; kept with the revision.")
@verb
def stop(name: str, reason: str) -> None:
    """Stop answering under a name; its log and revisions stay.

    \b
    Example: rung endpoint stop churn --reason "product withdrawn"
    """
    show(client().serving.undeploy(name, reason=reason), ("deployment", "number", "change"))
