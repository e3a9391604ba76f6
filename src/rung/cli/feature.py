"""``rung feature``: feature views, their values for a key, training sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rung.cli.frame import client, note, show, state, table, verb

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from rung.features.records import FeatureView


@click.group("feature", short_help="Feature views: apply, list, read, join.")
def command() -> None:
    """Feature views: apply, list, read, join."""


@command.command("apply")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@verb
def apply(file: Path) -> None:
    """Declare the views of a TOML FILE, one table [view.NAME] each; the same definition again changes nothing.

    \b
    Example: rung feature apply views.toml
    """
    views = _views(file)
    verbs = client().features
    show([verbs.apply(view) for view in views], _COLUMNS)


@command.command("list")
@verb
def list_views() -> None:
    """Views of the project.

    \b
    Example: rung feature list
    """
    show(client().features.list(), _COLUMNS, empty="No feature views yet: rung feature apply FILE")


@command.command("show")
@click.argument("name")
@click.option("--number", type=int, help="Definition; default the latest.")
@verb
def show_view(name: str, number: int | None) -> None:
    """One view with its features.

    \b
    Example: rung feature show weather
    """
    applied = client().features.get(name, number)
    show(applied, None if state().json else _COLUMNS)
    if not state().json:
        rows = [
            (f.name, f.source if f.aggregate != "count" or f.column else "rows", f.aggregate, f.window_s) for f in applied.view.features
        ]
        table(("feature", "column", "aggregate", "window_s"), rows)


@command.command("read")
@click.argument("view")
@click.argument("key", nargs=-1, required=True, metavar="COLUMN=VALUE...")
@click.option("--as-of", help="Instant, e.g. 2013-03-01T08:00:00Z; default now.")
@verb
def read(view: str, key: tuple[str, ...], as_of: str | None) -> None:
    """Features of one entity key as of an instant.

    \b
    Example: rung feature read weather origin=JFK --as-of 2013-03-01T08:00:00Z
    """
    rows = client().features.read([view], [dict(map(_pair, key))], as_of=_instant(as_of))
    if state().json:
        show(rows)
        return
    show(rows[0].values, ("name", "value", "event_time", "status"))


@command.command("join")
@click.argument("labels", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--view", "views", multiple=True, required=True, help="View to join; give it again for more.")
@click.option("--time-column", required=True, help="Instant at which each row asks.")
@click.option("--zone", help="Zone of times without one.")
@verb
def join(labels: Path, target: Path, views: tuple[str, ...], time_column: str, zone: str | None) -> None:
    """Join views to the rows of LABELS (Parquet or CSV), point-in-time correct, into the Parquet file TARGET.

    \b
    Example: rung feature join labels.parquet joined.parquet --view weather --time-column at
    """
    joined = client().features.join(_frame(labels), views, time_column, zone=zone)
    joined.write_parquet(target)
    note(f"{joined.height} rows, {joined.width} columns in {target}")
    if state().json:
        show({"rows": joined.height, "columns": joined.columns, "file": str(target)})


@command.command("training-set")
@click.argument("name")
@click.argument("labels")
@click.option("--view", "views", multiple=True, required=True, help="View to join; give it again for more.")
@click.option("--time-column", required=True, help="Instant at which each row asks.")
@click.option("--zone", help="Zone of times without one.")
@verb
def training_set(name: str, labels: str, views: tuple[str, ...], time_column: str, zone: str | None) -> None:
    """Make dataset version NAME from the latest version of dataset LABELS joined with views.

    \b
    Example: rung feature training-set flights-train flights --view weather --time-column at
    """
    version = client().features.training_set(name, labels=labels, views=views, time_column=time_column, zone=zone)
    show(version, ("dataset", "number", "digest", "rows", "derived_from"))


@command.command("manifest")
@click.argument("dataset")
@click.option("--number", type=int, help="Version; default the latest.")
@verb
def manifest(dataset: str, number: int | None) -> None:
    """Which labels met which views in a training set.

    \b
    Example: rung feature manifest flights-train
    """
    found = client().features.manifest(dataset, number)
    if state().json:
        show(found)
        return
    show(
        found.uses,
        ("view", "number", "dataset", "dataset_numbers", "mode", "ttl_s", "matched", "note"),
        title=f"{found.label_rows} label rows",
    )


_COLUMNS = ("view.name", "number", "view.entity", "view.dataset", "view.effective_mode", "view.ttl_s", "applied_by")


def _views(file: Path) -> list[FeatureView]:
    import tomllib  # noqa: PLC0415

    from rung.core.errors import Invalid  # noqa: PLC0415
    from rung.core.records import decoded  # noqa: PLC0415
    from rung.features.records import FeatureView  # noqa: PLC0415

    try:
        views = tomllib.loads(file.read_text("utf-8")).get("view")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{file} cannot be read: {error}.", code="features.unreadable", hint="Mend the file.") from None
    if not isinstance(views, dict) or not all(isinstance(view, dict) for view in views.values()):
        raise Invalid(f"{file} holds no [view.NAME] table.", code="features.no_views", hint="Write one table a view.")
    return [decoded({"name": name, **view}, FeatureView) for name, view in views.items()]


def _pair(text: str) -> tuple[str, object]:
    import msgspec  # noqa: PLC0415

    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{text!r} is not COLUMN=VALUE.")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _instant(text: str | None) -> datetime | None:
    from datetime import UTC, datetime  # noqa: PLC0415

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"{text!r} is not an instant. Write 2013-03-01T08:00:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _frame(path: Path) -> pl.DataFrame:
    import polars as pl  # noqa: PLC0415 - `rung --help` must not pay for it

    from rung.core.errors import Invalid  # noqa: PLC0415
    from rung.data.reading import parsed_csv  # noqa: PLC0415

    if path.suffix == ".csv":
        return parsed_csv(path.read_bytes(), path.name, ("", "NA", "NULL", "null"), "")
    try:
        return pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise Invalid(f"{path} is not Parquet: {str(error).splitlines()[0]}.", code="data.not_parquet", hint="Check the file.") from None
