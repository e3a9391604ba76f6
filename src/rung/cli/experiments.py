"""``rung experiments``: list, show, rename, tag and put aside experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rung.cli.frame import client, note, show, state, table, verb

if TYPE_CHECKING:
    from rung.tracking.records import Experiment


@click.group("experiments", short_help="List, show and rename experiments.")
def command() -> None:
    """List, show, rename, tag and put aside experiments. An experiment is named by its name or its number."""


@command.command("list")
@click.option("--where", "-w", default="", help="A filter, e.g. \"name LIKE 'late%' AND tags.team = 'risk'\".")
@click.option("--sort", "-s", multiple=True, help="What to sort by, e.g. 'created_at DESC'; repeatable.")
@click.option("--limit", default=100, show_default=True, help="How many.")
@click.option("--after", help="The `next` of the page before.")
@click.option("--deleted", is_flag=True, help="Show deleted experiments instead.")
@verb
def list_experiments(where: str, sort: tuple[str, ...], limit: int, after: str | None, *, deleted: bool) -> None:
    """Experiments, newest first.

    \b
    Example: rung experiments list -w "tags.team = 'risk'"
    """
    view = "deleted" if deleted else "active"
    page = client().tracking.search_experiments(where, order_by=sort, limit=limit, after=after, view=view)  # type: ignore[arg-type]  # one of two literals
    show(page, ("number", "name", "created_at", "created_by", "note"), empty="No experiments yet. `with rung.start_run():` makes one.")
    if page.next:
        note(f"More: --after '{page.next}'")


@command.command("show")
@click.argument("experiment")
@click.option("--limit", default=10, show_default=True, help="How many of its runs.")
@verb
def show_experiment(experiment: str, limit: int) -> None:
    """One experiment with its newest runs.

    \b
    Example: rung experiments show flights
    """
    found = _found(experiment)
    if state().json:
        show(found)
        return
    show(found, ("number", "name", "note", "created_at", "created_by", "updated_at", "deleted_at"), title=found.name)
    if found.tags:
        table(["tag", "value"], [[key, value] for key, value in found.tags.items()])
    page = client().tracking.search(experiments=[found.number], limit=limit)
    rows = [[f"{run.experiment}:{run.number}", run.name, run.status, run.started_at] for run in page.items]
    table(["run", "name", "status", "started_at"], rows, title="newest runs")


@command.command("rename")
@click.argument("experiment")
@click.argument("name")
@verb
def rename(experiment: str, name: str) -> None:
    """Give an experiment another name; its number and runs stay.

    \b
    Example: rung experiments rename flights late-flights
    """
    show(client().tracking.update_experiment(_found(experiment).number, name=name), ("number", "name"))


@command.command("tag")
@click.argument("experiment")
@click.argument("tags", nargs=-1, required=True, metavar="KEY=VALUE...")
@verb
def tag(experiment: str, tags: tuple[str, ...]) -> None:
    """Set tags; KEY= takes one away.

    \b
    Example: rung experiments tag flights team=risk draft=
    """
    changes: dict[str, str | None] = {}
    for item in tags:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise click.UsageError(f"{item!r} is no KEY=VALUE.")
        changes[key] = value or None
    show(client().tracking.update_experiment(_found(experiment).number, tags=changes), ("number", "name", "tags"))


@command.command("delete")
@click.argument("experiment")
@verb
def delete(experiment: str) -> None:
    """Put an experiment aside; its name stays taken, and `rung experiments restore` brings it back.

    \b
    Example: rung experiments delete flights
    """
    show(client().tracking.delete_experiment(_found(experiment).number), ("number", "name", "deleted_at"))


@command.command("restore")
@click.argument("experiment")
@verb
def restore(experiment: str) -> None:
    """Bring a deleted experiment back.

    \b
    Example: rung experiments restore flights
    """
    show(client().tracking.restore_experiment(_found(experiment).number), ("number", "name"))


def _found(experiment: str) -> Experiment:
    """By name, else by number: names may be digits, and a name is what people see."""
    from rung.core.errors import NotFound  # noqa: PLC0415 - `rung --help` must not pay for msgspec

    try:
        return client().tracking.experiment(experiment)
    except NotFound:
        if not experiment.isdecimal():
            raise
    return client().tracking.experiment(int(experiment))
