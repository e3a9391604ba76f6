"""``rung runs``: list, show, compare and put aside runs."""

from __future__ import annotations

import click

from rung.cli.frame import client, note, show, state, table, verb


@click.group("runs", short_help="List, show and compare runs.")
def command() -> None:
    """List, show and compare runs."""


@command.command("list")
@click.option("--experiment", "-e", help="Only runs of this experiment.")
@click.option("--where", "-w", default="", help="A filter, e.g. \"metrics.auc > 0.7 AND params.kind = 'tree'\".")
@click.option("--sort", "-s", multiple=True, help="What to sort by, e.g. 'metrics.auc DESC'; repeatable.")
@click.option("--limit", default=30, show_default=True, help="How many.")
@click.option("--after", help="The `next` of the page before.")
@click.option("--deleted", is_flag=True, help="Show deleted runs instead.")
@verb
def list_runs(experiment: str | None, where: str, sort: tuple[str, ...], limit: int, after: str | None, *, deleted: bool) -> None:
    """Runs, newest first.

    \b
    Example: rung runs list -e flights -w 'metrics.roc_auc > 0.7' --sort 'metrics.roc_auc DESC'
    """
    page = client().tracking.search(
        where, experiments=(experiment,) if experiment else (), order_by=sort, limit=limit, after=after, view="deleted" if deleted else "active"
    )
    if state().json:
        show(page)
        return
    if not page.items:
        click.echo("No runs yet. `with rung.start_run():` opens one.")
        return
    keys = list(dict.fromkeys(key for run in page.items for key in run.metrics))[:4]
    rows = [
        [f"{run.experiment}:{run.number}", run.name, run.status, run.started_at, *[run.metrics.get(key) for key in keys], run.id]
        for run in page.items
    ]
    table(["run", "name", "status", "started_at", *keys, "id"], rows)
    if page.next:
        note(f"More: --after '{page.next}'")


@command.command("show")
@click.argument("run")
@verb
def show_run(run: str) -> None:
    """One run with its params, latest metrics, context and artifacts.

    \b
    Example: rung runs show flights:12
    """
    found = client().tracking.get(run)
    if state().json:
        show(found)
        return
    show(
        found,
        ("id", "name", "status", "started_at", "ended_at", "created_by", "pipeline_run", "step", "error"),
        title=f"{found.experiment}:{found.number}",
    )
    for title, values in (("params", found.params), ("metrics", found.metrics), ("tags", found.tags)):
        if values:
            click.secho(title, bold=True)
            table(["name", "value"], [[key, value] for key, value in values.items()])
    click.secho("context", bold=True)
    show(found.context)
    if found.datasets:
        show(found.datasets, title="datasets")
    artifacts = client().tracking.artifacts(found.id)
    if artifacts:
        show(artifacts, ("path", "size_bytes", "media_type", "digest"), title="artifacts")


@command.command("compare")
@click.argument("runs", nargs=-1, required=True)
@click.option("--all", "everything", is_flag=True, help="Also what is equal in all of them.")
@verb
def compare(runs: tuple[str, ...], *, everything: bool) -> None:
    """Params, metrics and context of several runs side by side; only what differs, unless --all.

    \b
    Example: rung runs compare flights:11 flights:12
    """
    found = [client().tracking.get(run) for run in runs]
    if state().json:
        show(tuple(found))
        return
    rows = []
    for group in ("params", "metrics", "tags"):
        held = [getattr(run, group) for run in found]
        for key in sorted({key for values in held for key in values}):
            values = [item.get(key) for item in held]
            if everything or len(set(map(repr, values))) > 1:
                rows.append([group[:-1], key, *values])
    for name in ("git_commit", "lock"):
        values = [getattr(run, name) for run in found]
        if everything or len(set(values)) > 1:
            rows.append(["context", name, *values])
    if not rows:
        click.echo("They are alike in all that was logged.")
        return
    table(["what", "name", *[f"{run.experiment}:{run.number}" for run in found]], rows)


@command.command("history")
@click.argument("run")
@click.argument("metric")
@click.option("--limit", default=100, show_default=True, help="About how many points; more are thinned, keeping the extremes.")
@verb
def history(run: str, metric: str, limit: int) -> None:
    """The points of one metric.

    \b
    Example: rung runs history flights:12 loss
    """
    series = client().tracking.history(run, metric, limit=limit)
    show(series if state().json else series.points, ("step", "at", "value"))
    if series.thinned:
        note(f"{len(series.points)} of {series.total} points.")


@command.command("delete")
@click.argument("run")
@verb
def delete(run: str) -> None:
    """Put a run aside; `rung runs restore` brings it back.

    \b
    Example: rung runs delete flights:12
    """
    show(client().tracking.delete(run), ("id", "name", "deleted_at"))


@command.command("restore")
@click.argument("run")
@verb
def restore(run: str) -> None:
    """Bring a deleted run back.

    \b
    Example: rung runs restore flights:12
    """
    show(client().tracking.restore(run), ("id", "name", "status"))
