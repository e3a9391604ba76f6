"""Reading the prediction log: Parquet files named by rows, and the frames of segments not compacted yet.

Segments are read before the rows that may stand for them, so that compaction meanwhile hides nothing and doubles
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from rung.core.digests import digest_of
from rung.core.errors import NotFound
from rung.serving.log_parts import LogPart, log_parts
from rung.serving.log_store import LogStore
from rung.serving.store import ServingStore
from rung.serving.unpacking import DETAILS, Contents, Total, added, contents, input_name, joined
from rung.storage.scope import Scope

if TYPE_CHECKING:
    from rung.storage.connection import Connection

T = TypeVar("T")
SCHEMA = {
    "prediction_id": pl.String(), "event_time": pl.Datetime("us", "UTC"), "answered_at": pl.Datetime("us", "UTC"), "model": pl.String(),
    "version": pl.Int64(), "revision": pl.Int64(), "arm": pl.String(), "score": pl.Float64(),
}  # fmt: skip
KEPT = "log."


@dataclass(frozen=True)
class Wanted:
    """Which predictions: by event time [start, end), arm, and any condition on the columns that are read."""

    start: datetime | None = None
    end: datetime | None = None
    arm: str | None = None
    where: pl.Expr | None = None
    ids: tuple[str, ...] = ()

    def taken(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows of a frame that are wanted."""
        if self.start is not None:
            frame = frame.filter(pl.col("event_time") >= self.start)
        if self.end is not None:
            frame = frame.filter(pl.col("event_time") < self.end)
        if self.arm is not None:
            frame = frame.filter(pl.col("arm") == self.arm)
        if self.ids:
            frame = frame.filter(pl.col("prediction_id").is_in(self.ids))
        return frame if self.where is None else frame.filter(self.where)

    def overlaps(self, file: dict[str, Any]) -> bool:
        """Whether a file may hold some of them."""
        if (self.end is not None and file["start"] >= self.end) or (self.start is not None and file["stop"] < self.start):
            return False
        return not self.ids or file["first_id"] is None or any(file["first_id"] <= key <= file["last_id"] for key in self.ids)


def read(
    scope: Scope,
    deployment: str,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    arm: str | None = None,
    columns: list[str] | None = None,
    details: bool = False,
) -> pl.DataFrame:
    """Logged predictions of a deployment by event time [start, end), in order of event time.

    Args:
        scope: any scope of the project; with or without a transaction.
        deployment: its name; one that never answered gives no rows.
        start: first event time, None for the beginning. end: first event time no longer wanted.
        arm: stable, canary or shadow; None for all. What answered the caller is ``arm != "shadow"``.
        columns: input columns wanted; None for all. The log's own columns are always there.
        details: with latency, caller, ids of request and trace, flags, and all scores; an input of such a name is ``input.NAME`` then.

    Returns:
        Columns of ``SCHEMA``, then with details those of ``DETAILS``, then the inputs under their own names. Masked ones are hashes.
    """
    return chosen(scope, deployment, Wanted(start, end, arm), columns=columns, details=details)


def chosen(scope: Scope, deployment: str, wanted: Wanted, *, columns: list[str] | None = None, details: bool = False) -> pl.DataFrame:
    """Like ``read``, of the rows a condition chooses; it must name columns that are read."""
    fresh = _fresh(scope, deployment, None if columns is None else set(columns), details=details)
    compacted, files = _files(scope, deployment, [name for name, _ in fresh])
    parts = [wanted.taken(frame.lazy()).collect() for name, frame in fresh if name not in compacted]
    lazy = [wanted.taken(scanned(scope, file["blob"], columns, details=details)) for file in files if wanted.overlaps(file)]
    parts = [*pl.collect_all(lazy), *parts]
    if not parts:
        return pl.DataFrame(schema={**SCHEMA, **DETAILS} if details else SCHEMA)
    frame = joined(parts)
    return frame if frame["event_time"].is_sorted() else frame.sort("event_time", maintain_order=True)


def find(scope: Scope, prediction_id: str, deployment: str | None = None, *, details: bool = False) -> tuple[str, pl.DataFrame]:
    """Deployment and the row of one prediction as answered (not its shadow). Raises NotFound."""
    names = [deployment] if deployment else [d.name for d in within(scope, lambda c: ServingStore(c, scope.project).all())]
    mine = Wanted(ids=(prediction_id,), where=pl.col("arm") != "shadow")
    for name in names:
        rows = chosen(scope, name, mine, details=details)
        if rows.height:
            return name, rows.head(1)
    raise NotFound(
        f"There is no prediction {prediction_id!r} in the log.",
        code="serving.no_prediction",
        hint="Use an id that an endpoint answered with.",
    )


def served(scope: Scope, deployment: str) -> pl.DataFrame:
    """Rows served by model, version, arm and day of the answer."""
    frame = read(scope, deployment, columns=[])
    return (
        frame.with_columns(day=pl.col("answered_at").dt.strftime("%Y-%m-%d"))
        .group_by("model", "version", "arm", "day")
        .agg(rows=pl.len())
        .sort("day", "model", "version", "arm")
    )


def totals(scope: Scope, deployment: str) -> list[Total]:
    """What a deployment answered, by model version, revision, arm and UTC day of the answer: rows, errors, time, rows not logged.

    They hold for all time: neither compaction nor retention nor sampling takes from them.
    """
    fresh = [(part.stem, held.totals(deployment)) for part, held in opened(scope, deployment) if deployment in held.deployments()]
    keys = {segment_key(name, deployment): name for name, _ in fresh}

    def look(connection: Connection) -> tuple[set[str], list[Total], list[dict[str, Any]]]:
        store = LogStore(connection, scope.project)
        kept = [Total(**row) for row in store.totals(deployment)]
        return {keys[key] for key in store.compacted(list(keys))}, kept, [file for file in store.files(deployment) if not file["counted"]]

    compacted, kept, older = within(scope, look)
    kept += [total for file in older for total in counted(scope, file)]
    return added([*kept, *(total for name, found in fresh if name not in compacted for total in found)])


def counted(scope: Scope, file: dict[str, Any]) -> list[Total]:
    """Totals of a file whose segments were not counted when they were compacted: its rows, for errors and time are lost."""
    rows = (
        pl.scan_parquet(Path(scope.blobs.url(file["blob"])))
        .group_by("model", "version", "revision", "arm", day=pl.col("answered_at").dt.strftime("%Y-%m-%d"))
        .agg(rows=pl.len())
        .collect()
    )
    return [Total(model, version, revision, arm, day, rows=n) for model, version, revision, arm, day, n in rows.iter_rows()]


def opened(scope: Scope, deployment: str) -> Iterator[tuple[LogPart, Contents]]:
    """Segments on this machine and those that nodes shipped, oldest first, but for those that files stood for already."""
    parts = log_parts(scope)
    keys = {part.stem: segment_key(part.stem, deployment) for part in parts}
    done = within(scope, lambda c: LogStore(c, scope.project).compacted(list(keys.values()))) if keys else set()
    for part in parts:
        if keys[part.stem] in done:
            continue
        held = contents(part.path) or contents(part.sealed_path)
        if held is not None:
            yield part, held


def scanned(scope: Scope, blob: str, columns: list[str] | None, *, details: bool) -> pl.LazyFrame:
    """A Parquet file of the log as ``read`` gives it."""
    frame = pl.scan_parquet(Path(scope.blobs.url(blob)))
    kept: dict[str, str] = {}
    for name in frame.collect_schema().names():
        plain = name.removeprefix("input.") if name.startswith("input.") else name
        if name in SCHEMA:
            kept[name] = name
        elif name.startswith(KEPT) and name.removeprefix(KEPT) in DETAILS:
            if details:
                kept[name] = name.removeprefix(KEPT)
        elif (columns is None or plain in columns) and (details or plain not in SCHEMA):
            kept[name] = input_name(plain) if details else plain
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in DETAILS.items() if details and KEPT + name not in kept]
    return frame.select([pl.col(name).alias(said) for name, said in kept.items()] + missing)


def stored(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame with details as it goes into Parquet: sorted by event time; what no answer has is left out."""
    absent = [name for name in DETAILS if frame[name].null_count() == frame.height]
    return frame.drop(absent).rename({name: KEPT + name for name in DETAILS if name not in absent}).sort("event_time", maintain_order=True)


def segment_key(segment: str, deployment: str) -> str:
    """What stands for one deployment's part of a segment; a segment may hold several deployments."""
    return digest_of(f"{segment}/{deployment}".encode())[-32:]


def within(scope: Scope, work: Callable[[Connection], T]) -> T:
    """Run work on the scope's own connection, or on a snapshot when it has none."""
    if scope.open_connection is not None:
        return work(scope.open_connection)
    return scope.read(lambda inside: work(inside.connection))


def _fresh(scope: Scope, deployment: str, wanted: set[str] | None, *, details: bool) -> list[tuple[str, pl.DataFrame]]:
    found = [(part.stem, held.frame(deployment, wanted, details=details)) for part, held in opened(scope, deployment)]
    return [(name, frame) for name, frame in found if frame is not None]


def _files(scope: Scope, deployment: str, names: Sequence[str]) -> tuple[set[str], list[dict[str, Any]]]:
    keys = {segment_key(name, deployment): name for name in names}

    def look(connection: Connection) -> tuple[set[str], list[dict[str, Any]]]:
        store = LogStore(connection, scope.project)
        return {keys[key] for key in store.compacted(list(keys))}, store.files(deployment)

    return within(scope, look)
