"""Metric points: a tail of rows, packed into chunks behind it, and the latest value with its extremes beside both.

The same point twice is one point: the tail's key is the whole point. Chunks may overlap the tail and each other where
points came late; reading sorts and drops what is double.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rung.storage.raw import Raw
from rung.storage.sql import Connection, delete, select
from rung.tracking.store.tables import CHUNK, LATEST, PACK_FROM, POINT, SERIES

if TYPE_CHECKING:
    from rung.tracking.chunks import Points

Point = tuple[str, int, int, float]  # key, step, microseconds, value
_LATEST_NAMES = ("run", "key", "project", "experiment_number", "step", "at", "value", "is_nan", "low", "low_step", "high", "high_step")
_NEWER = (
    "(excluded.step > metric_latest.step OR (excluded.step = metric_latest.step AND (excluded.at > metric_latest.at"
    " OR (excluded.at = metric_latest.at AND (metric_latest.is_nan OR excluded.value > metric_latest.value)))))"
)
_LOWER = "(metric_latest.low IS NULL OR excluded.low < metric_latest.low)"
_HIGHER = "(metric_latest.high IS NULL OR excluded.high > metric_latest.high)"
_INTO_LATEST = f"INSERT INTO metric_latest ({', '.join(_LATEST_NAMES)})"
_OVERTAKE = (
    "ON CONFLICT (run, key) DO UPDATE SET "
    + ", ".join(
        f"{name} = CASE WHEN {when} THEN excluded.{name} ELSE metric_latest.{name} END"
        for name, when in (
            ("step", _NEWER), ("at", _NEWER), ("value", _NEWER), ("is_nan", _NEWER), ("low_step", _LOWER), ("low", _LOWER),
            ("high_step", _HIGHER), ("high", _HIGHER),
        )
    )
)  # fmt: skip
_UPSERT = f"{_INTO_LATEST} VALUES ({', '.join('?' * len(_LATEST_NAMES))}) {_OVERTAKE}"
_UPSERT_ARRAYS = (
    f"{_INTO_LATEST} SELECT ?, key, ?, ?, step, at, value, is_nan, low, low_step, high, high_step FROM unnest(?::text[], ?::bigint[],"  # noqa: S608 - names of ours
    " ?::bigint[], ?::float8[], ?::bool[], ?::float8[], ?::bigint[], ?::float8[], ?::bigint[])"
    f" AS given (key, step, at, value, is_nan, low, low_step, high, high_step) {_OVERTAKE}"
)
_ADD = "INSERT INTO metric_point (series, step, at, value, is_nan) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_ADD_ARRAYS = (
    "INSERT INTO metric_point (series, step, at, value, is_nan)"
    " SELECT * FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::float8[], ?::bool[]) ON CONFLICT DO NOTHING"
)
_ADD_CHUNK = "INSERT INTO metric_chunk (series, first_step, last_step, points, data, summary) VALUES (?, ?, ?, ?, ?, ?)"
_CHUNKS_AT_ONCE = 8  # so that nobody waits long for the writer
_COUNT = "UPDATE metric_series SET tail = tail + ? WHERE id = ?"
_COUNT_ARRAYS = (
    "UPDATE metric_series SET tail = tail + more.points FROM unnest(?::bigint[], ?::bigint[]) AS more (points, id)"
    " WHERE metric_series.id = more.id"
)
# PostgreSQL is asked over a socket: one statement for what SQLite does in three
_ADD_ONE = f"WITH added AS ({_ADD}), counted AS ({_COUNT}) {_UPSERT}"


class PointStore:
    """Points of runs on one connection. Whose run it is, is checked before."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._raw = Raw(connection)
        self._postgresql = connection.dialect.name == "postgresql"

    def add(self, run: str, project: str, experiment_number: int, points: Sequence[Point]) -> None:
        """Append points, and move the latest values that they overtake."""
        if not points:
            return
        keys = list(dict.fromkeys(point[0] for point in points))
        series = self._series(run, keys)
        if self._postgresql and len(points) == 1:
            self._add_one(run, project, experiment_number, series[keys[0]], points[0])
            return
        rows = []
        counts = dict.fromkeys(series.values(), 0)
        latest: dict[str, list[Any]] = {}
        for key, step, at, value in points:
            number = series[key]
            is_nan = value != value  # noqa: PLR0124 - NaN is what differs from itself
            rows.append((number, step, at, 0.0 if is_nan else value, is_nan))
            counts[number] += 1
            _gather(latest, key, step, at, value, is_nan=is_nan)
        self._append(rows)
        whose = (run, project, experiment_number)
        newest = [(key, h[0], h[1], None if h[3] else h[2], *h[3:]) for key, h in latest.items()]
        more = [(count, number) for number, count in counts.items()]
        if not self._postgresql:
            self._raw.change_many(_COUNT, more)
            self._raw.change_many(_UPSERT, [(run, key, *whose[1:], *rest) for key, *rest in newest])
        else:
            self._raw.change(_COUNT_ARRAYS, _literals(more))
            self._raw.change(_UPSERT_ARRAYS, [*whose, list(latest), *_literals([row[1:] for row in newest])])

    def enter(self, project: str, experiment_number: int, runs: Mapping[str, Sequence[Point]]) -> None:
        """Points of runs that have none yet, all together."""
        counts: dict[tuple[str, str], int] = {}
        latest: dict[tuple[str, str], list[Any]] = {}
        for run, points in runs.items():
            for key, step, at, value in points:
                counts[run, key] = counts.get((run, key), 0) + 1
                _gather(latest, (run, key), step, at, value, is_nan=value != value)  # noqa: PLR0124 - NaN is what differs from itself
        if not counts:
            return
        self._raw.insert_many("metric_series (run, key, tail)", [(run, key, count) for (run, key), count in counts.items()])
        numbers: dict[tuple[str, str], int] = {}
        ids = list(runs)
        for start in range(0, len(ids), 500):  # SQLite bounds the number of parameters
            some = ids[start : start + 500]
            sql = f"SELECT run, key, id FROM metric_series WHERE run IN ({', '.join('?' * len(some))})"  # noqa: S608 - question marks
            numbers.update({(run, key): number for run, key, number in self._raw.rows(sql, some)})
        self._append(
            [
                (numbers[run, key], step, at, 0.0 if value != value else value, value != value)  # noqa: PLR0124 - see above
                for run, points in runs.items()
                for key, step, at, value in points
            ]
        )
        whose = (project, experiment_number)
        rows = [(*of, *whose, held[0], held[1], None if held[3] else held[2], *held[3:]) for of, held in latest.items()]
        self._raw.insert_many(f"metric_latest ({', '.join(_LATEST_NAMES)})", rows)

    def series(self, run: str, key: str) -> int | None:
        """Number of a series, None when the metric was never logged."""
        found = self._raw.rows("SELECT id FROM metric_series WHERE run = ? AND key = ?", (run, key))
        return int(found[0][0]) if found else None

    def tail(self, series: int, first: int | None = None, last: int | None = None) -> Points:
        """Points of a series that are not packed, by step and instant; only steps from ``first`` to ``last``."""
        from rung.tracking.chunks import Points  # noqa: PLC0415 - loads NumPy, which a server at rest does without

        query = select(POINT.c.step, POINT.c.at, POINT.c.value, POINT.c.is_nan).where(POINT.c.series == series)
        if first is not None:
            query = query.where(POINT.c.step >= first)
        if last is not None:
            query = query.where(POINT.c.step <= last)
        return Points.of_rows(self._connection.execute(query.order_by(POINT.c.step, POINT.c.at)).all())

    def chunks(self, series: int, *, data: bool, first: int | None = None, last: int | None = None) -> list[Any]:
        """Rows (first_step, last_step, points, data or summary) of a series' chunks by step."""
        query = select(CHUNK.c.first_step, CHUNK.c.last_step, CHUNK.c.points, CHUNK.c.data if data else CHUNK.c.summary)
        query = query.where(CHUNK.c.series == series)
        if first is not None:
            query = query.where(CHUNK.c.last_step >= first)
        if last is not None:
            query = query.where(CHUNK.c.first_step <= last)
        return list(self._connection.execute(query.order_by(CHUNK.c.first_step, CHUNK.c.last_step)))

    def full_tails(self, limit: int) -> list[int]:
        """Series whose tails are long enough to be packed."""
        query = select(SERIES.c.id).where(SERIES.c.tail >= PACK_FROM).order_by(SERIES.c.tail.desc()).limit(limit)
        return [int(number) for number in self._connection.execute(query).scalars()]

    def pack(self, series: int) -> int:
        """Move what fills whole chunks from the beginning of a series' tail into chunks; the number of points moved."""
        from rung.tracking.chunks import Points, cut, encoded  # noqa: PLC0415 - see tail

        if self._postgresql:  # whoever adds a point counts it on this row: none comes late between the look and the removal
            self._raw.rows("SELECT id FROM metric_series WHERE id = ? FOR UPDATE", (series,))
        most = PACK_FROM * _CHUNKS_AT_ONCE
        sql = "SELECT step, at, value, is_nan FROM metric_point WHERE series = ? ORDER BY step, at LIMIT ?"
        tail = Points.of_rows(self._raw.rows(sql, (series, most)))
        whole = len(tail) < most
        if not whole:
            tail = self._to_whole_instants(series, tail)
        moved, last, at = 0, 0, 0
        for part in cut(tail, PACK_FROM):
            data, summary = encoded(part)
            first, last, at = int(part.steps[0]), int(part.steps[-1]), int(part.ats[-1])
            self._raw.change(_ADD_CHUNK, (series, first, last, len(part), data, summary))
            moved += len(part)
        if moved:
            self._raw.change(
                "DELETE FROM metric_point WHERE series = ? AND (step < ? OR (step = ? AND at <= ?))", (series, last, last, at)
            )  # fmt: skip
        # The count takes double points in, so it is set right whenever the whole tail has been seen.
        left = len(tail) - moved if whole else None
        sql = "UPDATE metric_series SET tail = tail - ? WHERE id = ?" if left is None else "UPDATE metric_series SET tail = ? WHERE id = ?"
        self._raw.change(sql, (moved if left is None else left, series))
        return moved

    def _to_whole_instants(self, series: int, tail: Points) -> Points:
        """The beginning of a tail without its last instant, of which there may be more points than were read.

        Where little else is left, with all of them: what was packed is removed by its instant, so they stay together.
        """
        step, at = int(tail.steps[-1]), int(tail.ats[-1])
        before = int(((tail.steps != step) | (tail.ats != at)).sum())
        if before >= PACK_FROM:
            return tail.taken(slice(0, before))
        sql = "SELECT step, at, value, is_nan FROM metric_point WHERE series = ? AND (step, at) <= (?, ?) ORDER BY step, at"
        return type(tail).of_rows(self._raw.rows(sql, (series, step, at)))

    def remove(self, run: str) -> None:
        """Forget every point of a run for good."""
        numbers = select(SERIES.c.id).where(SERIES.c.run == run)
        for item in (POINT, CHUNK):
            self._connection.execute(delete(item).where(item.c.series.in_(numbers)))
        self._connection.execute(delete(SERIES).where(SERIES.c.run == run))
        self._connection.execute(delete(LATEST).where(LATEST.c.run == run))

    def _series(self, run: str, keys: list[str]) -> dict[str, int]:
        found = self._known(run, keys)
        missing = [(run, key, 0) for key in keys if key not in found]
        if missing:
            self._raw.insert_many("metric_series (run, key, tail)", missing, "ON CONFLICT DO NOTHING")
            found |= self._known(run, [key for _, key, _ in missing])
        return found

    def _known(self, run: str, keys: list[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for start in range(0, len(keys), 500):  # SQLite bounds the number of parameters
            some = keys[start : start + 500]
            sql = f"SELECT key, id FROM metric_series WHERE run = ? AND key IN ({', '.join('?' * len(some))})"  # noqa: S608 - question marks
            found.update(tuple(row) for row in self._raw.rows(sql, (run, *some)))
        return found

    def _append(self, rows: list[Any]) -> None:
        if self._postgresql:
            self._raw.change(_ADD_ARRAYS, _literals(rows))
        else:
            self._raw.change_many(_ADD, rows)

    def _add_one(self, run: str, project: str, experiment_number: int, series: int, point: Point) -> None:
        key, step, at, value = point
        latest: dict[str, list[Any]] = {}
        is_nan = value != value  # noqa: PLR0124 - see add
        _gather(latest, key, step, at, value, is_nan=is_nan)
        held = latest[key]
        newest = (held[0], held[1], None if is_nan else held[2], *held[3:])
        self._raw.change(
            _ADD_ONE, (series, step, at, 0.0 if is_nan else value, is_nan, 1, series, run, key, project, experiment_number, *newest)
        )


def _literals(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Columns of numbers as PostgreSQL's array literals; its driver would look at each number for what needs quotes."""
    return [f"{{{','.join('NULL' if value is None else str(value) for value in column)}}}" for column in zip(*rows, strict=True)]


def _gather(latest: dict[Any, list[Any]], key: Any, step: int, at: int, value: float, *, is_nan: bool) -> None:
    """Let a further point of a batch make or move the latest one of its key and the extremes."""
    held = latest.get(key)
    if held is None:
        latest[key] = [step, at, value, is_nan, *((None,) * 4 if is_nan else (value, step, value, step))]
    else:
        _move(held, step, at, value, is_nan=is_nan)


def _move(held: list[Any], step: int, at: int, value: float, *, is_nan: bool) -> None:
    """Let a further point of the same batch move the latest one and the extremes."""
    rank = -math.inf if is_nan else value
    if (step, at, rank) > (held[0], held[1], -math.inf if held[3] else held[2]) or (held[3] and (step, at) == (held[0], held[1])):
        held[0], held[1], held[2], held[3] = step, at, value, is_nan
    if not is_nan:
        if held[4] is None or value < held[4]:
            held[4], held[5] = value, step
        if held[6] is None or value > held[6]:
            held[6], held[7] = value, step
