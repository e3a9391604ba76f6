"""``rung predictions``: what deployments answered."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rung.cli.frame import client, note, show, state, table, verb

if TYPE_CHECKING:
    from rung.monitoring.records import Label
    from rung.serving.log_records import PredictionTable

_CHOICES = (
    click.option("--start", type=click.DateTime(), help="First event time wanted (UTC)."),
    click.option("--end", type=click.DateTime(), help="First event time no longer wanted (UTC)."),
    click.option("--version", "number", type=int, help="Only of this model version."),
    click.option("--revision", type=int, help="Only of this revision of the deployment."),
    click.option("--arm", default="", help="Only of this arm: stable, canary, shadow, …"),
    click.option("--flag", default="", help="Only with this flag."),
    click.option("--caller", default="", help="Only of this caller."),
    click.option("--id", "ids", multiple=True, help="Only the prediction with this id; may be given several times."),
    click.option("--where", default="", help="A condition: \"distance > 1000 and carrier in ('AA', 'UA')\"."),
    click.option("--column", "columns", multiple=True, help="Column to show; may be given several times. All otherwise."),
)
_SHORT = ("prediction_id", "answered_at", "event_time", "version", "arm", "score", "label", "latency_us", "flags")
_FOLLOW_S = 1.0


def _choices(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_CHOICES):
        function = option(function)
    return function


@click.group("predictions", short_help="What deployments answered: list, show, count, export, erase.")
def command() -> None:
    """What deployments answered: list, show, count, export, erase."""


@command.command("list")
@click.argument("name")
@_choices
@click.option("--limit", default=20, show_default=True, help="Rows.")
@click.option("--oldest", is_flag=True, help="Oldest answers first.")
@click.option("--labels", is_flag=True, help="With the column label, where one has arrived.")
@click.option("--tail", is_flag=True, help="Go on showing answers as they come, until interrupted.")
@verb
def list_predictions(name: str, limit: int, oldest: bool, labels: bool, tail: bool, **chosen: Any) -> None:  # noqa: FBT001 - flags
    """Predictions of a deployment, newest answer first.

    \b
    Example: rung predictions list churn --version 3 --where "tenure < 6" --limit 50
    Example: rung predictions list churn --labels
    """
    if labels and chosen["columns"]:
        chosen["columns"] = tuple(dict.fromkeys(("prediction_id", *chosen["columns"])))
    asked = _asked(chosen)
    found = client().serving.query_predictions(name, limit=limit, order="oldest" if oldest else "newest", **asked)
    if not tail:
        _shown(_labelled(name, found) if labels else found, whole=bool(chosen["columns"]))
        return
    rows = list(found.rows) if oldest else list(reversed(found.rows))
    try:
        _followed(name, rows, asked)
    except KeyboardInterrupt:
        return


@command.command("show")
@click.argument("prediction_id")
@click.option("--deployment", help="Where to look; everywhere otherwise.")
@click.option("--explain", is_flag=True, help="With what each input contributed to the score.")
@verb
def show_prediction(prediction_id: str, deployment: str | None, explain: bool) -> None:  # noqa: FBT001 - a flag
    """One prediction with its inputs.

    \b
    Example: rung predictions show 01932c5e7d8a7c3e9d1f6a2b4c5d6e7f
    """
    found = client().serving.find(prediction_id, deployment)
    told = client().serving.explain(prediction_id, found.deployment) if explain else None
    if state().json:
        show(told or found)
        return
    said = {name: getattr(found, name) for name in found.__struct_fields__ if name != "inputs"}
    label = _label(found.deployment, found.id)
    said |= {"label": "not arrived yet" if label is None else label.label}
    width = max(map(len, said))
    for key, value in said.items():
        if value not in ("", ()):
            click.echo(f"{key.ljust(width)}  {_text(value)}")
    shares = told.contributions if told else {}
    table(
        ("input", "value", *(["contributed"] if told else [])),
        [[key, _text(value), *([_text(shares.get(key))] if told else [])] for key, value in found.inputs.items()],
    )
    note(f"rung lineage prediction={found.id} shows what it came from.")


def _label(deployment: str, prediction: str) -> Label | None:
    """The label of a prediction, where one has arrived and may be seen."""
    from rung.core.errors import Denied, NotFound  # noqa: PLC0415 - only where one prediction is shown

    try:
        return client().monitoring.label(deployment, prediction)
    except (NotFound, Denied):
        return None


@command.command("count")
@click.argument("name")
@verb
def count(name: str) -> None:
    """Rows answered by day, version, revision and arm; rows not logged and rows that failed are counted too.

    \b
    Example: rung predictions count churn
    """
    columns = ("day", "model", "number", "revision", "arm", "logged", "unlogged", "shed", "errors", "busy_s")
    show(client().serving.count_predictions(name), columns, empty="It has not answered yet.")


@command.command("export")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_choices
@click.option("--labels", is_flag=True, help="With the column label, where one has arrived.")
@verb
def export(name: str, file: Path, labels: bool, **chosen: Any) -> None:  # noqa: FBT001 - a flag
    """Predictions into a Parquet or CSV file, by the file's suffix.

    \b
    Example: rung predictions export churn may.parquet --start 2026-05-01 --end 2026-06-01 --labels
    """
    from rung.cli.predicting import write_rows  # noqa: PLC0415 - polars

    asked = _asked(chosen)
    frame = client().serving.predictions(name, details=True, labels=labels, **{**asked, "arm": asked.pop("arm") or None})
    if file.suffix != ".parquet":
        import polars as pl  # noqa: PLC0415 - see above

        nested = [column for column, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
        frame = frame.with_columns(pl.col(nested).list.eval(pl.element().cast(pl.String)).list.join(" ")) if nested else frame
    write_rows(frame, file)
    note(f"{frame.height} predictions in {file}")


@command.command("sql")
@click.argument("name")
@click.argument("query")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the answer as CSV or Parquet.")
@verb
def sql(name: str, query: str, out: Path | None) -> None:
    """The answer of a query in SQL over the table `predictions`, labels joined; it is computed here, not on the server.

    \b
    Example: rung predictions sql churn "select version, avg(score), count(label) from predictions group by version"
    """
    from rung.cli.predicting import write_rows  # noqa: PLC0415 - polars

    frame = client().serving.sql(name, query)
    if out is not None:
        write_rows(frame, out)
        note(f"{frame.height} rows in {out}")
    elif state().json:
        click.echo(frame.write_json())
    else:
        table(frame.columns, [[_text(value) for value in row] for row in frame.head(1000).iter_rows()])


@command.command("erase")
@click.option("--deployment", help="Only of this deployment; of all otherwise.")
@click.option("--column", default="", help="Input column that holds the value.")
@click.option("--value", help="Rows with this value are erased; a masked column is searched for its hash.")
@click.option("--id", "ids", multiple=True, help="Prediction with this id; may be given several times.")
@click.option("--reason", default="", help="Why; kept with the record of the erasure.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@verb
def erase(deployment: str | None, column: str, value: str | None, ids: tuple[str, ...], reason: str, yes: bool) -> None:  # noqa: FBT001 - a flag
    """Take a person's predictions out of the log for good. What was counted stays counted.

    \b
    Example: rung predictions erase --column customer --value 4711 --reason "request of 3 May"
    """
    if not yes:
        click.confirm(f"Erase predictions {'with these ids' if ids else f'with {column} = {value}'} for good?", abort=True)
    gone = client().serving.erase_predictions(deployment=deployment, column=column, value=_plain(value), ids=ids, reason=reason)
    _counted(gone, f"{gone} predictions erased. `rung gc` removes the files that held them.")


@command.command("prune")
@click.option("--days", type=int, help="Age in days; setting serving.log_days otherwise.")
@verb
def prune(days: int | None) -> None:
    """Remove predictions answered longer ago than that many days; the engine does it hourly when serving.log_days is set.

    \b
    Example: rung predictions prune --days 400
    """
    gone = client().serving.prune_predictions(days)
    _counted(gone, f"{gone} predictions removed. `rung gc` removes the files that held them.")


@command.command("removals")
@click.argument("name", required=False)
@verb
def removals(name: str | None) -> None:
    """What was taken out of the log, by whom and why.

    \b
    Example: rung predictions removals churn
    """
    columns = ("at", "deployment", "cause", "rows", "column", "before", "by", "reason")
    show(client().serving.removals(name), columns, empty="Nothing was removed.")


@command.command("compact")
@verb
def compact() -> None:
    """Move this home's segments into Parquet now; the engine does it by itself.

    \b
    Example: rung predictions compact
    """
    moved = client().serving.compact_log()
    _counted(moved, f"{moved} segments moved.")


@command.command("sinks")
@click.option("--tell", is_flag=True, help="Tell them what is new now; the engine does it by itself.")
@verb
def sinks(tell: bool) -> None:  # noqa: FBT001 - a flag
    """Where answers are told besides the log, how far, and what went wrong.

    \b
    Example: rung predictions sinks
    """
    if tell:
        took = client().serving.tell_sinks()
        note(f"{took} predictions were taken.")
    columns = ("deployment", "address", "sent", "waiting_bytes", "failures", "changed_at", "error")
    show(client().serving.sinks(), columns, empty="No deployment has a sink.")


def _asked(chosen: dict[str, Any]) -> dict[str, Any]:
    from datetime import UTC  # noqa: PLC0415 - only here

    for name in ("start", "end"):
        if chosen[name] is not None:
            chosen[name] = chosen[name].replace(tzinfo=UTC)
    return chosen


def _labelled(name: str, found: PredictionTable) -> PredictionTable:
    """The rows with what is known to be true of each."""
    from rung.core.records import replaced  # noqa: PLC0415 - `rung --help` must not pay for it

    told = [_label(name, row["prediction_id"]) for row in found.rows]
    rows = tuple({**row, "label": label.label if label else None} for row, label in zip(found.rows, told, strict=True))
    return replaced(found, rows=rows, columns=(*found.columns, "label"))


def _shown(found: PredictionTable, *, whole: bool) -> None:
    """A table; on a terminal with as many inputs as there is room for, unless the columns were named."""
    if state().json:
        show(found)
        return
    if not found.rows:
        click.echo("No such predictions.")
        return
    names = [name for name in found.columns if name in _SHORT] + [
        name for name in found.columns if name not in _SHORT and _some(found, name)
    ]
    rows = [[_text(row[name]) for name in names] for row in found.rows]
    room = len(names) if whole or not sys.stdout.isatty() else _fitting(names, rows)
    table(names[:room], [row[:room] for row in rows])
    if room < len(names):
        note(f"{len(names) - room} more columns: --column NAME shows the ones you name, --json all of them.")
    if found.more:
        note("There are more; --limit shows them.")


def _fitting(names: list[str], rows: list[list[str]]) -> int:
    """How many columns fit on the terminal; never fewer than the log's own."""
    from shutil import get_terminal_size  # noqa: PLC0415 - only on a terminal

    left, own = get_terminal_size().columns, sum(name in _SHORT for name in names)
    for at, name in enumerate(names):
        left -= 2 + max(len(name), *(len(row[at]) for row in rows))
        if left < 0:
            return max(at, own)
    return len(names)


def _some(found: Any, name: str) -> bool:
    return any(row[name] is not None for row in found.rows)


def _followed(name: str, rows: list[dict[str, Any]], asked: dict[str, Any]) -> None:
    """Show rows as they come, one JSON object a line."""
    import time  # noqa: PLC0415 - only here
    from datetime import UTC, datetime  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    after = None
    while True:
        for row in rows:
            click.echo(msgspec.json.encode({key: value for key, value in row.items() if value is not None}).decode())
            said = row.get("answered_at")
            at = datetime.fromisoformat(said) if isinstance(said, str) else said
            after = at if after is None or (at is not None and at > after) else after
        after = after or datetime.now(UTC)
        time.sleep(_FOLLOW_S)
        columns = tuple(dict.fromkeys((*asked["columns"], "answered_at"))) if asked["columns"] else ()
        rows = list(
            client().serving.query_predictions(name, answered_after=after, order="oldest", limit=1000, **{**asked, "columns": columns}).rows
        )


def _plain(value: str | None) -> str | int | float | None:
    for kind in (int, float):
        try:
            return None if value is None else kind(value)
        except ValueError:
            continue
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    if hasattr(value, "hour"):
        return str(value.isoformat(sep=" ", timespec="milliseconds")).replace("+00:00", "Z")
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _counted(number: int, said: str) -> None:
    if state().json:
        show({"count": number})
    else:
        click.echo(said)
