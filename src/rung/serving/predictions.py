"""Reading the prediction log: Parquet files named by rows, and the frames of segments not compacted yet.

Segments are read before the rows that may stand for them, so that compaction meanwhile hides nothing and doubles
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from rung.core.digests import digest_of
from rung.core.errors import NotFound
from rung.core.ids import new_id
from rung.serving.frames import Batch, frame_of, frame_of_all, unpacked
from rung.serving.log import log_folder, payloads, recover, segments
from rung.serving.store import ServingStore
from rung.storage.scope import Scope

T = TypeVar("T")
SCHEMA = {
    "prediction_id": pl.String(), "event_time": pl.Datetime("us", "UTC"), "answered_at": pl.Datetime("us", "UTC"), "model": pl.String(),
    "version": pl.Int64(), "revision": pl.Int64(), "arm": pl.String(), "score": pl.Float64(),
}  # fmt: skip


def read(
    scope: Scope,
    deployment: str,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    arm: str | None = None,
    columns: list[str] | None = None,
) -> pl.DataFrame:
    """Logged predictions of a deployment by event time [start, end), in order of event time.

    Args:
        scope: any scope of the project; with or without a transaction.
        deployment: its name; one that never answered gives no rows.
        start: first event time, None for the beginning. end: first event time no longer wanted.
        arm: stable, canary or shadow; None for all. What answered the caller is ``arm != "shadow"``.
        columns: input columns wanted; None for all. The log's own columns are always there.

    Returns:
        Columns of ``SCHEMA``, then the inputs under their own names.
    """
    wanted = None if columns is None else set(columns)
    fresh = _fresh(scope, deployment, wanted)
    compacted, files = _files(scope, deployment, [name for name, _ in fresh])
    parts = [_scan(scope, file["blob"], columns) for file in files]
    parts += [frame for name, frame in fresh if name not in compacted]
    if not parts:
        return pl.DataFrame(schema=SCHEMA)
    frame = pl.concat(parts, how="diagonal_relaxed")
    if start is not None:
        frame = frame.filter(pl.col("event_time") >= start)
    if end is not None:
        frame = frame.filter(pl.col("event_time") < end)
    if arm is not None:
        frame = frame.filter(pl.col("arm") == arm)
    return frame.sort("event_time", maintain_order=True)


def find(scope: Scope, prediction_id: str, deployment: str | None = None) -> tuple[str, pl.DataFrame]:
    """Deployment and the row of one prediction as answered (not its shadow). Raises NotFound."""
    names = [deployment] if deployment else [d.name for d in _within(scope, lambda store: store.all())]
    for name in names:
        rows = read(scope, name).filter((pl.col("prediction_id") == prediction_id) & (pl.col("arm") != "shadow"))
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


def batches(scope: Scope, deployment: str) -> Iterator[Batch]:
    """Batches of segments not compacted yet, with their errors and elapsed time."""
    for path in segments(log_folder(scope.home, scope.project)):
        for payload in payloads(path) or ():
            batch = unpacked(payload)
            if batch.deployment == deployment:
                yield batch


def compact(scope: Scope) -> list[tuple[str, list[str], pl.DataFrame]]:
    """Sealed segments that no Parquet file stands for yet, by deployment: (deployment, segment ids, rows).

    Segments that files already stand for entirely are removed here: the rows that name those files are committed.
    """
    folder = log_folder(scope.home, scope.project)
    recover(folder)
    gathered: dict[str, tuple[list[str], list[pl.DataFrame]]] = {}
    for path in segments(folder, sealed_only=True):
        held: dict[str, list[pl.DataFrame]] = {}
        for payload in payloads(path) or ():
            batch = unpacked(payload)
            held.setdefault(batch.deployment, []).extend([frame_of(batch)] if batch.rows else [])
        keys = {segment_key(path.stem, name): name for name in held}
        done = {keys[key] for key in _within(scope, _asker(list(keys)))} if keys else set()
        if keys and done == set(held):
            path.unlink(missing_ok=True)
            continue
        for name, frames in held.items():
            if name not in done and frames:
                ids, parts = gathered.setdefault(name, ([], []))
                ids.append(path.stem)
                parts.extend(frames)
    return [(name, ids, pl.concat(parts, how="diagonal_relaxed").sort("event_time")) for name, (ids, parts) in gathered.items()]


def file_values(scope: Scope, deployment: str, frame: pl.DataFrame, blob: str) -> dict[str, Any]:
    """The row that names a Parquet file of the log."""
    times = frame["event_time"]
    return {
        "id": new_id(), "deployment": deployment, "blob": blob, "rows": frame.height,
        "start": times.min(), "stop": times.max(), "created_at": scope.now,
    }  # fmt: skip


def segment_key(segment: str, deployment: str) -> str:
    """What stands for one deployment's part of a segment; a segment may hold several deployments."""
    return digest_of(f"{segment}/{deployment}".encode())[-32:]


def _asker(keys: list[str]) -> Callable[[ServingStore], set[str]]:
    return lambda store: store.compacted(keys)


def _fresh(scope: Scope, deployment: str, wanted: set[str] | None) -> list[tuple[str, pl.DataFrame]]:
    found = []
    for path in segments(log_folder(scope.home, scope.project)):
        held = [batch for payload in payloads(path) or () if (batch := unpacked(payload)).deployment == deployment and batch.rows]
        if held:
            found.append((path.stem, frame_of_all(held, wanted)))
    return found


def _files(scope: Scope, deployment: str, names: list[str]) -> tuple[set[str], list[dict[str, Any]]]:
    keys = {segment_key(name, deployment): name for name in names}

    def look(store: ServingStore) -> tuple[set[str], list[dict[str, Any]]]:
        return {keys[key] for key in store.compacted(list(keys))}, store.prediction_files(deployment)

    return _within(scope, look)


def _scan(scope: Scope, blob: str, columns: list[str] | None) -> pl.DataFrame:
    frame = pl.scan_parquet(Path(scope.blobs.url(blob)))
    if columns is not None:
        held = set(frame.collect_schema().names())
        frame = frame.select([*SCHEMA, *(name for name in columns if name in held and name not in SCHEMA)])
    return frame.collect()


def _within(scope: Scope, work: Callable[[ServingStore], T]) -> T:
    """Run store work on the scope's own connection, or on a snapshot when it has none."""
    if scope.open_connection is not None:
        return work(ServingStore(scope.open_connection, scope.project))
    return scope.read(lambda inside: work(ServingStore(inside.connection, inside.project)))
