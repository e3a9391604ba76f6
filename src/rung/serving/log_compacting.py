"""Keeping the prediction log: sealed segments into Parquet, small files into larger ones, what is too old or erased out of it.

Every step may be taken twice or by two processes: a segment counts once by its key, and files are replaced all or none.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from rung.core.errors import Conflict
from rung.core.ids import new_id
from rung.serving.keeping import Keeping, project_key
from rung.serving.log import log_folder, recover
from rung.serving.log_parts import LogPart, log_parts
from rung.serving.log_records import Removal
from rung.serving.log_store import LogStore
from rung.serving.node_store import NodeStore
from rung.serving.predictions import counted, scanned, segment_key, stored, within
from rung.serving.store import ServingStore
from rung.serving.telling import address_key, with_sinks
from rung.serving.unpacking import Contents, Total, added, contents, joined
from rung.storage.scope import Scope

LOG = logging.getLogger("rung.serving")
MOST_BYTES = 256 << 20
ROW_GROUP = 65_536
MANY, LARGE = 8, 2_000_000
_SHIPPED_FOR = timedelta(days=90)
Save = Callable[[Scope], None]


@dataclass
class _Moved:
    """What a file of one deployment will stand for."""

    keys: list[str] = field(default_factory=list)
    parts: list[pl.DataFrame] = field(default_factory=list)
    totals: list[Total] = field(default_factory=list)


def compacted(scope: Scope) -> tuple[int, Save]:
    """Writes Parquet for sealed segments that none stands for yet; how many there were, and what saves that.

    At most ``MOST_BYTES`` of segments at once. Segments that files already stand for, and that sinks have read, are removed.
    """
    moved, count, size = dict[str, _Moved](), 0, 0
    waiting, gone = _waiting(scope), list[str]()
    for part in log_parts(scope, sealed_only=True):
        held = contents(part.path)
        if held is None:
            continue
        keys = {segment_key(part.stem, name): name for name in held.deployments()}
        done = within(scope, _done(scope, list(keys)))
        if len(done) == len(keys):
            if _read_by_all(part, held, waiting):
                gone.append(part.stem) if part.shipped else _remove(part.path, held)
            continue
        for key, name in keys.items():
            if key in done:
                continue
            to = moved.setdefault(name, _Moved())
            frame = held.frame(name, details=True)
            to.keys.append(key)
            to.parts.extend([] if frame is None else [frame])
            to.totals.extend(held.totals(name))
        count, size = count + 1, size + held.end
        if size > MOST_BYTES:
            break
    written = [(name, to, _written(scope, name, _spared(scope, name, to.parts)) if to.parts else None) for name, to in moved.items()]

    def save(inside: Scope) -> None:
        store = LogStore(inside.connection, inside.project)
        for name, to, values in written:
            if store.compacted(to.keys):
                continue
            if values is None:
                store.note_segments(to.keys, "")
            else:
                store.add_file(values, to.keys)
            store.add_totals(name, [asdict(total) for total in added(to.totals)])
        nodes = NodeStore(inside.connection, inside.project)
        nodes.remove_parts(gone)
        nodes.forget_segments(inside.now - _SHIPPED_FOR)

    return count, save


def sealed(scope: Scope) -> None:
    """Seal what dead processes left open."""
    folder = log_folder(scope.home, scope.project)
    if folder.exists():
        recover(folder)


def merged(scope: Scope) -> Save:
    """Joins the small files of a deployment into one when there are many; counts files that an older Rung wrote."""
    files = within(scope, lambda connection: LogStore(connection, scope.project).files())
    by_name: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        by_name.setdefault(file["deployment"], []).append(file)
    fresh = [(file["deployment"], file["id"], counted(scope, file)) for file in files if not file["counted"]]
    joins = []
    for name, held in by_name.items():
        sizes: dict[int, list[dict[str, Any]]] = {}
        for file in held:
            if file["rows"] < LARGE:
                sizes.setdefault(int(math.log(max(1, file["rows"]), MANY)), []).append(file)
        for small in sizes.values():  # files of about one size, so that a row is written anew seldom, however many files come
            if len(small) >= MANY:
                joins.append((name, [file["id"] for file in small[:MANY]], _written(scope, name, _together(scope, small[:MANY]))))

    def save(inside: Scope) -> None:
        store = LogStore(inside.connection, inside.project)
        for name, file, totals in fresh:
            if store.set_counted(file):
                store.add_totals(name, [asdict(total) for total in totals])
        for _, ids, values in joins:
            _replace(store, ids, values)

    return save


def pruned(scope: Scope, before: datetime) -> tuple[int, Save]:
    """Files without predictions answered before an instant; how many rows those are, and what saves that."""
    return _without(
        scope, None, pl.col("answered_at") < before, lambda name, rows: _removal(scope, name, rows, before=before), before=before
    )


def erased(scope: Scope, deployment: str | None, column: str, values: Sequence[Any], reason: str) -> tuple[int, Save]:
    """Files without predictions that hold a value in a column; how many rows those are, and what saves that.

    The values' hashes stay with the record, so that rows of segments which other processes had open are left out when they come in.
    """
    keeping = Keeping(key=project_key(scope.home, scope.project))
    hashes = [h for h in (keeping.mask(value) for value in values) if h is not None]
    names = [deployment] if deployment else [d.name for d in within(scope, lambda c: ServingStore(c, scope.project).all())]
    gone, saves = 0, []
    for name in names:
        files = [f for f in within(scope, _files(scope, name)) if column in scanned(scope, f["blob"], None, details=True).collect_schema()]
        count, save = _without(scope, files, _holds(column, values, hashes), None)
        gone += count
        saves.append(save)
        for value in hashes:
            note = _removal(scope, name, count, cause="erasure", column=column, value_hash=value, reason=reason)
            saves.append(lambda inside, note=note: LogStore(inside.connection, inside.project).add_removal(note))  # type: ignore[misc]

    def all_of_it(inside: Scope) -> None:
        for save in saves:
            save(inside)

    return gone, all_of_it


def _without(
    scope: Scope,
    files: list[dict[str, Any]] | None,
    away: pl.Expr,
    noted: Callable[[str, int], Removal] | None,
    *,
    before: datetime | None = None,
) -> tuple[int, Save]:
    """Files written anew without rows."""
    held = within(scope, lambda c: LogStore(c, scope.project).files()) if files is None else files
    changes, gone = [], dict[str, int]()
    for file in held:
        whole = before is not None and file["created_at"] < before
        hits = file["rows"] if whole else scanned(scope, file["blob"], None, details=True).filter(away).select(pl.len()).collect().item()
        if not hits:
            continue
        name = file["deployment"]
        gone[name] = gone.get(name, 0) + hits
        values = None
        if hits < file["rows"]:
            rest = scanned(scope, file["blob"], None, details=True).filter(~away.fill_null(value=False)).collect()
            values = _written(scope, name, rest)
        totals = [] if file["counted"] else counted(scope, file)
        changes.append((file, values, totals))

    def save(inside: Scope) -> None:
        store = LogStore(inside.connection, inside.project)
        for file, values, totals in changes:
            if totals and store.set_counted(file["id"]):
                store.add_totals(file["deployment"], [asdict(total) for total in totals])
            _replace(store, [file["id"]], values)
        for name, rows in gone.items():
            if noted is not None:
                store.add_removal(noted(name, rows))

    return sum(gone.values()), save


def _replace(store: LogStore, ids: list[str], values: dict[str, Any] | None) -> None:
    if store.remove_files(ids) != len(ids):
        raise Conflict("Another process has changed files of the prediction log.", code="serving.log_changed", hint="Try again.")
    if values is not None:
        store.add_file(values, [])


def _written(scope: Scope, deployment: str, frame: pl.DataFrame) -> dict[str, Any] | None:
    """A Parquet blob of rows with details, and the row that names it; None of no rows."""
    if not frame.height:
        return None
    sink = io.BytesIO()
    stored(frame).write_parquet(sink, compression="zstd", statistics=True, row_group_size=ROW_GROUP)
    times, ids = frame["event_time"], frame["prediction_id"]
    return {
        "id": new_id(), "deployment": deployment, "blob": scope.blobs.put(sink.getvalue()), "rows": frame.height, "start": times.min(),
        "stop": times.max(), "created_at": scope.now, "counted": 1, "first_id": ids.min(), "last_id": ids.max(),
    }  # fmt: skip


def _together(scope: Scope, files: Sequence[dict[str, Any]]) -> pl.DataFrame:
    return joined(pl.collect_all([scanned(scope, file["blob"], None, details=True) for file in files]))


def _spared(scope: Scope, name: str, parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Rows that come in, less those which were erased after they were answered."""
    frame = joined(parts)
    oldest: Any = frame["answered_at"].min()  # frames of a node that was cut off may be old
    recent = [
        note
        for note in within(scope, lambda c: LogStore(c, scope.project).removals(name))
        if note.cause == "erasure" and note.column in frame.columns and note.at >= oldest
    ]
    if not recent:
        return frame
    keeping = Keeping(key=project_key(scope.home, scope.project))
    for note in recent:
        hashes = [keeping.mask(value) for value in frame[note.column].to_list()]
        same = pl.Series([note.value_hash in {value, hashed} for value, hashed in zip(frame[note.column].to_list(), hashes, strict=True)])
        frame = frame.filter(~(same & (frame["answered_at"] <= note.at)))
    return frame


def _holds(column: str, values: Sequence[Any], hashes: Sequence[str]) -> pl.Expr:
    said = pl.col(column).cast(pl.String, strict=False)
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    texts = [("true" if value else "false") if isinstance(value, bool) else str(value) for value in values]
    found = said.is_in([*texts, *hashes])
    return found | pl.col(column).cast(pl.Float64, strict=False).is_in(numbers) if numbers else found


def _removal(scope: Scope, deployment: str, rows: int, **values: Any) -> Removal:
    return Removal(id=new_id(), deployment=deployment, rows=rows, at=scope.now, by=scope.who, **{"cause": "retention", **values})


def _files(scope: Scope, name: str) -> Callable[[Any], list[dict[str, Any]]]:
    return lambda connection: LogStore(connection, scope.project).files(name)


def _done(scope: Scope, keys: list[str]) -> Callable[[Any], set[str]]:
    return lambda connection: LogStore(connection, scope.project).compacted(keys)


def _waiting(scope: Scope) -> dict[str, dict[str, int]]:
    """Read positions of sinks by deployment; those of a sink that has not begun are empty."""
    states = {(state.deployment, state.key): state.positions for state in within(scope, lambda c: LogStore(c, scope.project).sinks())}
    return {held.name: states.get((held.name, address_key(held.options.logging.sink)), {}) for held in with_sinks(scope)}


def _read_by_all(part: LogPart, held: Contents, waiting: dict[str, dict[str, int]]) -> bool:
    """Whether every sink has read a part."""
    return not any(name in waiting and waiting[name].get(part.stem, 0) < held.end for name in held.deployments())


def _remove(path: Path, held: Contents) -> None:
    if held.whole:
        path.unlink(missing_ok=True)
        return
    damaged = path.with_suffix(".damaged")
    LOG.error(
        "segment %s of the prediction log is damaged after byte %d; what lies before is kept, the file is %s", path.stem, held.end, damaged
    )
    with suppress(FileNotFoundError):  # another process has found it too
        path.rename(damaged)
