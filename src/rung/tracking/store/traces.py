"""Rows of traces: whole records as JSON beside the columns that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from rung.core.records import prepared, replaced
from rung.storage.raw import Raw
from rung.storage.sql import Connection, delete, select
from rung.tracking.store.tables import ARTIFACT, TRACE, inserting

if TYPE_CHECKING:
    from rung.tracking.traces import Trace


class TraceStore:
    """Traces of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def save(self, trace: Trace) -> None:
        """Enter a trace in place of one of the same id."""
        values = {
            "project": self._project, "id": trace.id, "experiment_number": trace.experiment_number, "at": trace.at, "tags": trace.tags,
            "record": replaced(trace, tags={}),
        }  # fmt: skip
        insert = inserting(self._connection)(TRACE).values(**values)
        changed = {name: insert.excluded[name] for name in ("experiment_number", "at", "tags", "record")}
        self._connection.execute(insert.on_conflict_do_update(index_elements=["project", "id"], set_=changed))

    def find(self, trace: str) -> Trace | None:
        """A trace by its id."""
        found = self._read(select(TRACE.c.record, TRACE.c.tags).where(self._mine(), TRACE.c.id == trace))
        return found[0] if found else None

    def among(self, experiments: Sequence[int]) -> list[Trace]:
        """Traces of some experiments, or of all, newest first."""
        query = select(TRACE.c.record, TRACE.c.tags).where(self._mine())
        if experiments:
            query = query.where(TRACE.c.experiment_number.in_(experiments))
        return self._read(query.order_by(TRACE.c.at.desc()))

    def newest(self, experiments: Sequence[int], after: Trace | None, limit: int) -> list[Trace]:
        """The newest traces of some experiments, or of all, that began before another."""
        query = select(TRACE.c.record, TRACE.c.tags).where(self._mine())
        if experiments:
            query = query.where(TRACE.c.experiment_number.in_(experiments))
        if after is not None:
            query = query.where((TRACE.c.at < after.at) | ((TRACE.c.at == after.at) & (TRACE.c.id < after.id)))
        return self._read(query.order_by(TRACE.c.at.desc(), TRACE.c.id.desc()).limit(limit))

    def take_turn(self, trace: str) -> None:
        """Let nobody else change a trace's tags until the transaction ends."""
        Raw(self._connection).take_turn("trace", self._project, trace)

    def retag(self, trace: str, tags: dict[str, str]) -> None:
        """Give a trace other tags."""
        self._connection.execute(TRACE.update().where(self._mine(), TRACE.c.id == trace).values(tags=tags))

    def delete(self, experiment: int, traces: Sequence[str], before: datetime | None, most: int) -> int:
        """Forget traces of an experiment and their artifacts; how many."""
        query = select(TRACE.c.id).where(self._mine(), TRACE.c.experiment_number == experiment)
        if traces:
            query = query.where(TRACE.c.id.in_(traces))
        if before is not None:
            query = query.where(TRACE.c.at <= before)
        gone = list(self._connection.execute(query.order_by(TRACE.c.at).limit(most)).scalars())
        for start in range(0, len(gone), 500):  # SQLite bounds the number of parameters
            some = gone[start : start + 500]
            self._connection.execute(delete(ARTIFACT).where(ARTIFACT.c.project == self._project, ARTIFACT.c.owner.in_(some)))
            self._connection.execute(delete(TRACE).where(self._mine(), TRACE.c.id.in_(some)))
        return len(gone)

    def _read(self, query: Any) -> list[Trace]:
        from rung.tracking.traces import Trace  # noqa: PLC0415 - the record stands beside its handlers, which use this store

        return [replaced(msgspec.convert(record, prepared(Trace)), tags=tags) for record, tags in self._connection.execute(query)]

    def _mine(self) -> Any:
        return TRACE.c.project == self._project
