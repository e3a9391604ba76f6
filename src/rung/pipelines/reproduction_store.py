"""Tables of reproductions."""

from __future__ import annotations

from rung.core.errors import NotFound
from rung.pipelines.reproducing import Reproduction, ReproductionReport
from rung.pipelines.rows import record, values
from rung.storage.sql import Boolean, Column, Connection, Float, Index, Integer, String, Text, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

REPRODUCTION = table(
    "reproduction",
    id_column(),
    project_column(),
    Column("pipeline_run", String(32), nullable=False),
    Column("repeated_as", String(32), nullable=False),
    Column("likeness", String(16), nullable=False),
    Column("first_diverging_step", Text, nullable=False),
    Column("tolerance", Float, nullable=False),
    Column("comparisons", JsonType, nullable=False),
    Column("notes", JsonType, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("pipeline", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("metrics", JsonType, nullable=False),
    Column("changes", JsonType, nullable=False),
    Column("not_repeated", JsonType, nullable=False),
    Column("network", String(16), nullable=False),
    Column("rebuilt", Boolean, nullable=False),
    Column("report", String(80), nullable=False, info={"blobs": ("",)}),
    Index("ix_reproduction_run", "project", "pipeline_run"),
)
REPORT = table(
    "reproduction_report",
    id_column(),
    project_column(),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("tolerance", Float, nullable=False),
    Column("holds", Boolean, nullable=False),
    Column("entries", JsonType, nullable=False),
    Column("digest", String(80), nullable=False, info={"blobs": ("",)}),
)


class ReproductionStore:
    """Rows of reproductions of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add_reproduction(self, reproduction: Reproduction) -> None:
        """Enter a reproduction."""
        self._connection.execute(REPRODUCTION.insert().values(project=self._project, **values(reproduction)))

    def reproductions(self, run: str | None, limit: int) -> tuple[Reproduction, ...]:
        """Reproductions, newest first."""
        query = select(REPRODUCTION).where(REPRODUCTION.c.project == self._project).order_by(REPRODUCTION.c.id.desc()).limit(limit)
        query = query if run is None else query.where(REPRODUCTION.c.pipeline_run == run)
        return tuple(record(row, Reproduction) for row in self._connection.execute(query).mappings())

    def reproduction(self, key: str) -> Reproduction:
        """A reproduction by id. Raises NotFound."""
        query = select(REPRODUCTION).where(REPRODUCTION.c.project == self._project, REPRODUCTION.c.id == key)
        row = self._connection.execute(query).mappings().first()
        if row is None:
            raise NotFound(
                f"There is no reproduction {key!r}.", code="pipelines.no_reproduction", hint="`rung reproduce --list` lists them."
            )
        return record(row, Reproduction)

    def add_report(self, report: ReproductionReport) -> None:
        """Enter a report."""
        self._connection.execute(REPORT.insert().values(project=self._project, **values(report)))

    def reports(self, limit: int) -> tuple[ReproductionReport, ...]:
        """Reports, newest first."""
        query = select(REPORT).where(REPORT.c.project == self._project).order_by(REPORT.c.id.desc()).limit(limit)
        return tuple(record(row, ReproductionReport) for row in self._connection.execute(query).mappings())
