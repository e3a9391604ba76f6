"""Table of test reports."""

from __future__ import annotations

from rung.core.errors import NotFound
from rung.pipelines.rows import record, values
from rung.pipelines.testing.records import TestReport
from rung.storage.sql import Boolean, Column, Connection, Float, Integer, String, UniqueConstraint, func, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

REPORT = table(
    "test_report",
    id_column(),
    project_column(),
    Column("number", Integer, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("git_commit", String(64), nullable=False),
    Column("git_dirty", Boolean, nullable=False),
    Column("code", String(80), nullable=False),
    Column("source", String(250), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("wall_s", Float, nullable=False),
    Column("counts", JsonType, nullable=False),
    Column("fingerprints", JsonType, nullable=False),
    Column("checks", JsonType, nullable=False),
    UniqueConstraint("project", "number", name="uq_test_report_number"),
)


class TestReportStore:
    """Test reports of one project on one connection."""

    __test__ = False

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def next_number(self) -> int:
        """The number of the next report."""
        return int(self._connection.execute(select(func.max(REPORT.c.number)).where(REPORT.c.project == self._project)).scalar() or 0) + 1

    def add(self, report: TestReport) -> None:
        """Enter a report."""
        self._connection.execute(REPORT.insert().values(project=self._project, **values(report)))

    def reports(self, *, after: int | None, limit: int) -> list[TestReport]:
        """Reports, newest first."""
        query = select(REPORT).where(REPORT.c.project == self._project).order_by(REPORT.c.number.desc()).limit(limit)
        query = query if after is None else query.where(REPORT.c.number < after)
        return [record(row, TestReport) for row in self._connection.execute(query).mappings()]

    def report(self, number: int | None) -> TestReport:
        """A report by its number, or the newest. Raises NotFound."""
        query = select(REPORT).where(REPORT.c.project == self._project).order_by(REPORT.c.number.desc()).limit(1)
        query = query if number is None else query.where(REPORT.c.number == number)
        row = self._connection.execute(query).mappings().first()
        if row is None:
            told = "There is no test report yet." if number is None else f"There is no test report {number}."
            raise NotFound(told, code="pipelines.no_test_report", hint="`rung test` makes one.")
        return record(row, TestReport)
