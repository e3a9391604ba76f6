"""``rung views``: ways of looking at runs, kept under a name."""

from __future__ import annotations

import click

from rung.cli.frame import client, note, show, state, verb


@click.group("views", short_help="Keep ways of looking at runs.")
def command() -> None:
    """Keep filter, order and columns of the runs table under a name; the web pages offer the same views."""


@command.command("list")
@verb
def list_views() -> None:
    """Your views in this project.

    \b
    Example: rung views list
    """
    empty = "No views yet. `rung views save best --sort 'metrics.auc DESC'` keeps one."
    show(client().tracking.list_views(), ("name", "filter", "order_by", "columns", "experiment", "updated_at"), empty=empty)


@command.command("save")
@click.argument("name")
@click.option("--where", "-w", default="", help="A filter, e.g. 'metrics.auc > 0.7'.")
@click.option("--sort", "-s", default="", help="What to sort by, e.g. 'metrics.auc DESC'.")
@click.option("--column", "-c", "columns", multiple=True, help="A column, e.g. metrics.auc or params.depth; repeatable.")
@click.option("--experiment", "-e", type=int, help="Only runs of this experiment, by its number.")
@verb
def save(name: str, where: str, sort: str, columns: tuple[str, ...], experiment: int | None) -> None:
    """Keep a view, in place of one of the same name.

    \b
    Example: rung views save best -w "metrics.auc > 0.7" -s 'metrics.auc DESC' -c metrics.auc -c params.depth
    """
    show(client().tracking.save_view(name, where, order_by=sort, columns=columns, experiment=experiment))


@command.command("runs")
@click.argument("name")
@click.option("--limit", default=30, show_default=True, help="How many.")
@verb
def runs(name: str, limit: int) -> None:
    """The runs a view shows.

    \b
    Example: rung views runs best
    """
    from rung.core.errors import NotFound  # noqa: PLC0415 - the CLI starts without the platform

    views = {view.name: view for view in client().tracking.list_views()}
    if name not in views:
        raise NotFound(f"You have no view {name!r}.", code="tracking.no_view", hint="`rung views list` shows them.")
    view = views[name]
    wanted = () if view.experiment is None else (view.experiment,)
    page = client().tracking.search(view.filter, experiments=wanted, order_by=(view.order_by,) if view.order_by else (), limit=limit)
    show(page, ("experiment", "number", "name", "status", "started_at", "metrics", "params"), empty="No run meets the filter.")
    if page.next and not state().json:
        note(f"More than {limit}: raise --limit.")


@command.command("delete")
@click.argument("name")
@verb
def delete(name: str) -> None:
    """Forget a view of yours.

    \b
    Example: rung views delete best
    """
    client().tracking.delete_view(name)
    show({"deleted": name})
