"""Queries of lists: only the columns that a list shows, which lie before the large ones."""

from __future__ import annotations

from typing import Any

from rung.pipelines.records import PipelineRunStatus
from rung.pipelines.rows import record
from rung.pipelines.store import DEFINITION, RUN
from rung.pipelines.summaries import RunSummary
from rung.storage.plain import Plain
from rung.storage.sql import Connection, select

_RUN, _COLUMNS = Plain(RUN), tuple(RunSummary.__struct_fields__)


class SummaryStore:
    """Summaries of runs of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def runs(self, *, pipeline: str | None, status: PipelineRunStatus | None, after: str | None, limit: int) -> list[RunSummary]:
        """Runs, newest first."""
        asked = {"pipeline = ?": pipeline, "status = ?": status, "id < ?": after}
        given = {part: value for part, value in asked.items() if value is not None}
        rows = _RUN.rows(
            self._connection,
            " AND ".join(["project = ?", *given]), (self._project, *given.values()), tail=f"ORDER BY id DESC LIMIT {limit}", columns=_COLUMNS,
        )  # fmt: skip
        return [record(row, RunSummary) for row in rows]

    def newest(self, pipeline: str, limit: int) -> list[RunSummary]:
        """The runs of a pipeline with the greatest numbers, greatest first."""
        of, newest = ("project = ? AND pipeline = ?", (self._project, pipeline)), f"ORDER BY number DESC LIMIT {limit}"
        return [record(row, RunSummary) for row in _RUN.rows(self._connection, *of, tail=newest, columns=_COLUMNS)]

    def tallied(self, pipeline: str, limit: int) -> list[tuple[str, float | None]]:
        """State of each of a pipeline's newest runs, and how many seconds it took."""
        query = select(RUN.c.status, RUN.c.started_at, RUN.c.ended_at).where(RUN.c.project == self._project, RUN.c.pipeline == pipeline)
        return [
            (status, (ended - started).total_seconds() if started and ended else None)
            for status, started, ended in self._connection.execute(query.order_by(RUN.c.number.desc()).limit(limit))
        ]

    def declared(self, pipeline: str | None) -> dict[str, dict[str, Any]]:
        """What the project declares by name, as it lies in the rows: plans are counted, not read."""
        query = select(DEFINITION.c.name, DEFINITION.c.info).where(DEFINITION.c.project == self._project)
        query = query if pipeline is None else query.where(DEFINITION.c.name == pipeline)
        return {row.name: row.info for row in self._connection.execute(query.order_by(DEFINITION.c.name))}

    def pipelines(self) -> tuple[str, ...]:
        """Names of pipelines that have runs."""
        query = select(RUN.c.pipeline).where(RUN.c.project == self._project).distinct().order_by(RUN.c.pipeline)
        return tuple(self._connection.execute(query).scalars())
