"""What a driver writes of a run's progress, in few plain statements: it is written at every step and every batch of a map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from rung.core.clock import to_micros
from rung.core.records import prepared
from rung.pipelines.records import Artifact, StepAttempt, StepItem, StepRun
from rung.pipelines.store import CacheEntry
from rung.storage.connection import Connection
from rung.storage.queue import Job
from rung.storage.raw import Raw

_PLAIN = (str, int, float, bool, type(None))
_STEP = StepRun.__struct_fields__
_CHANGING = tuple(name for name in _STEP if name not in {"id", "pipeline_run", "key", "step", "position"})
_ATTEMPT = StepAttempt.__struct_fields__
_ITEM = StepItem.__struct_fields__
_PUT_STEP = f"UPDATE step_run SET {', '.join(f'{name} = ?' for name in _CHANGING)} WHERE id = ?"  # noqa: S608 - names of fields
_END_ATTEMPT = "UPDATE step_attempt SET status = ?, ended_at = ?, wall_s = ?, cpu_s = ?, peak_bytes = ?, error = ?, log = ? WHERE id = ?"
_KEPT = ("project", "cache_key", "step_run", "outputs", "parts", "step", "created_at")
_IN_PLACE = "ON CONFLICT (project, cache_key) DO UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in _KEPT[2:])
_HOLDS = "SELECT 1 FROM job WHERE id = ? AND fence = ? AND state = 'leased'"
_AT_ONCE = 500


class ProgressStore:
    """Steps, attempts, items and cache entries of one project, as they are written while a run goes on."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._raw = Raw(connection)
        self._project = project
        # the row is locked, or the claim could be given away between this look and the commit
        self._lock = " FOR NO KEY UPDATE" if connection.dialect.name == "postgresql" else ""

    def holds(self, job: Job) -> bool:
        """Whether a claim stands, and until the end of this transaction goes on to stand."""
        return bool(self._raw.rows(_HOLDS + self._lock, (job.id, job.fence)))

    def add_steps(self, steps: Iterable[StepRun]) -> None:
        """Enter step runs."""
        rows = [(self._project, *_told(step, _STEP)) for step in steps]
        self._raw.insert_many(f"step_run (project, {', '.join(_STEP)})", rows)

    def put_steps(self, steps: Iterable[StepRun]) -> None:
        """Replace step runs by those of the same id."""
        self._raw.change_many(_PUT_STEP, [(*_told(step, _CHANGING), step.id) for step in steps])

    def add_attempts(self, attempts: Iterable[StepAttempt]) -> None:
        """Enter attempts."""
        rows = [(self._project, *_told(attempt, _ATTEMPT)) for attempt in attempts]
        self._raw.insert_many(f"step_attempt (project, {', '.join(_ATTEMPT)})", rows)

    def end_attempts(self, attempts: Iterable[StepAttempt]) -> None:
        """Enter how attempts ended."""
        fields = ("status", "ended_at", "wall_s", "cpu_s", "peak_bytes", "error", "log", "id")
        self._raw.change_many(_END_ATTEMPT, [_told(attempt, fields) for attempt in attempts])

    def put_items(self, step_run: str, items: Sequence[StepItem], *, replace: bool) -> None:
        """Enter ended items of a map; with ``replace`` in place of rows that may be there."""
        if replace:
            self._raw.change_many(
                "DELETE FROM step_item WHERE step_run = ? AND position = ?", [(step_run, item.position) for item in items]
            )
        self._raw.insert_many(f"step_item (project, {', '.join(_ITEM)})", [(self._project, *_told(item, _ITEM)) for item in items])

    def remove_items(self, step_run: str) -> None:
        """Forget the items of a map whose collection is another one now."""
        self._raw.change("DELETE FROM step_item WHERE step_run = ? AND project = ?", (step_run, self._project))

    def finished_items(self, step_run: str) -> dict[int, StepItem]:
        """Every row of a map's items that an earlier attempt at it has left, by position."""
        rows = self._raw.rows(
            f"SELECT {', '.join(_ITEM)} FROM step_item WHERE step_run = ? AND project = ?",  # noqa: S608 - names of fields
            (step_run, self._project),
        )
        decode = msgspec.json.Decoder(prepared(tuple[Artifact, ...])).decode
        place = _ITEM.index("outputs")
        found: dict[int, StepItem] = {}
        for row in rows:
            fields = dict(zip(_ITEM, row, strict=True)) | {"outputs": decode(row[place]), "ended_at": None}
            found[fields["position"]] = StepItem(**fields)
        return found

    def cached(self, keys: Sequence[str]) -> dict[str, tuple[tuple[Artifact, ...], str, int]]:
        """Of keys the cache holds: outputs, step run and the instant they were kept, in microseconds."""
        decode = msgspec.json.Decoder(prepared(tuple[Artifact, ...])).decode
        found: dict[str, tuple[tuple[Artifact, ...], str, int]] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = self._raw.rows(
                f"SELECT cache_key, outputs, step_run, created_at FROM step_cache WHERE project = ? AND cache_key IN ({marks})",  # noqa: S608
                (self._project, *some),
            )
            found |= {key: (decode(outputs), step_run, at) for key, outputs, step_run, at in rows}
        return found

    def keep(self, entries: Iterable[tuple[CacheEntry, str]], now: datetime) -> None:
        """Put outputs under their keys, in place of older ones; each entry with the name of its step."""
        rows = {
            entry.cache_key: (
                self._project, entry.cache_key, entry.step_run, _json(entry.outputs), _json(entry.parts), step, to_micros(now),
            )
            for entry, step in entries
        }  # fmt: skip
        self._raw.insert_many(f"step_cache ({', '.join(_KEPT)})", list(rows.values()), _IN_PLACE)


def _told(record: Any, fields: Sequence[str]) -> tuple[Any, ...]:
    return tuple(
        value if type(value := getattr(record, name)) in _PLAIN else to_micros(value) if type(value) is datetime else _json(value)
        for name in fields
    )


def _json(value: Any) -> str:
    return "[]" if value == () else "{}" if value == {} else msgspec.json.encode(value, order="sorted").decode()
