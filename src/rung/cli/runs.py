"""``rung runs``: list, search, show, compare and put aside runs."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rung.cli.frame import client, note, show, state, table, verb

if TYPE_CHECKING:
    from rung.tracking.records import Run

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60


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
    _page((experiment,) if experiment else (), where, sort, limit, after, deleted=deleted)


@command.command("search")
@click.argument("filter", default="")
@click.option("--experiment", "-e", "experiments", multiple=True, help="Only runs of these experiments; repeatable.")
@click.option("--sort", "-s", multiple=True, help="What to sort by, e.g. 'metrics.auc DESC'; repeatable.")
@click.option("--limit", default=30, show_default=True, help="How many.")
@click.option("--after", help="The `next` of the page before.")
@verb
def search(filter: str, experiments: tuple[str, ...], sort: tuple[str, ...], limit: int, after: str | None) -> None:
    """Runs that a filter finds, over all experiments or some.

    \b
    Example: rung runs search "metrics.auc > 0.7 AND (params.kind = 'tree' OR NOT tags.draft = 'yes')" --sort 'metrics.auc DESC'
    """
    _page(experiments, filter, sort, limit, after, deleted=False)


def _page(experiments: Sequence[str], where: str, sort: tuple[str, ...], limit: int, after: str | None, *, deleted: bool) -> None:
    page = client().tracking.search(
        where, experiments=experiments, order_by=sort, limit=limit, after=after, view="deleted" if deleted else "active"
    )
    if state().json:
        show(page)
        return
    if not page.items:
        click.echo("No run meets the filter." if where else "No runs yet. `with rung.start_run():` opens one.")
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
    """Params, metrics, tags, data and context of runs side by side; only what differs, unless --all.

    \b
    Example: rung runs compare flights:11 flights:12 flights:15
    """
    found = [client().tracking.get(run) for run in runs]
    names = [f"{run.experiment}:{run.number}" for run in found]
    rows = [[what, name, *values] for what, name, values in _facts(found) if everything or len({repr(value) for value in values}) > 1]
    if state().json:
        # Maps, not columns: what a run has not is left out rather than told apart from null.
        show({"runs": names, "facts": [{"what": row[0], "name": row[1], "values": dict(zip(names, row[2:], strict=True))} for row in rows]})
    elif not rows:
        click.echo("They are alike in all that was logged.")
    else:
        table(["what", "name", *names], rows)


def _facts(runs: Sequence[Run]) -> list[tuple[str, str, list[Any]]]:
    """What was logged to any of the runs, a row a fact, with each run's value or None."""
    found: list[tuple[str, str, list[Any]]] = []
    for group in ("params", "metrics", "tags"):
        held = [getattr(run, group) for run in runs]
        found += [(group[:-1], key, [values.get(key) for values in held]) for key in sorted({key for values in held for key in values})]
    data = [
        {f"{use.role} {use.dataset}": str(use.number) for use in run.datasets} | {f"input {item.name}": item.digest for item in run.inputs}
        for run in runs
    ]
    found += [("data", key, [values.get(key) for values in data]) for key in sorted({key for values in data for key in values})]
    for name in ("git_commit", "git_dirty", "lock", "python", "platform", "source", "seeds", "hardware"):
        found.append(("context", name, [_plain(getattr(run.context, name)) for run in runs]))
    found.append(("run", "status", [run.status for run in runs]))
    return found


def _plain(value: Any) -> Any:
    """A record as the dict of its fields: one form for tables and JSON."""
    return {name: getattr(value, name) for name in value.__struct_fields__} if hasattr(value, "__struct_fields__") else value


@command.command("history")
@click.argument("run")
@click.argument("metric")
@click.option("--limit", default=100, show_default=True, help="About how many points; more are thinned, keeping the extremes.")
@verb
def history(run: str, metric: str, limit: int) -> None:
    """The points of one metric, on a terminal with its curve.

    \b
    Example: rung runs history flights:12 loss
    """
    series = client().tracking.history(run, metric, limit=limit)
    if not state().json and sys.stdout.isatty():
        values = [point.value for point in series.points]
        click.echo(f"{metric}  {sparkline(values)}  {values[0]:.4g} … {values[-1]:.4g}" if values else metric)
    show(series if state().json else series.points, ("step", "at", "value"))
    if series.thinned:
        note(f"{len(series.points)} of {series.total} points.")


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Values as a line of bars: each the mean of its stretch, a dot where there is none that is finite."""
    stretches = min(len(values), width)
    parts = [values[i * len(values) // stretches : (i + 1) * len(values) // stretches] for i in range(stretches)]
    means = [_mean([value for value in part if math.isfinite(value)]) for part in parts]
    known = [mean for mean in means if mean is not None]
    low, span = (min(known), max(known) - min(known)) if known else (0.0, 0.0)
    return "".join("·" if mean is None else _BARS[int((mean - low) / span * (len(_BARS) - 1)) if span else 0] for mean in means)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


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
