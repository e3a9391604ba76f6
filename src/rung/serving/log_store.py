"""Tables of the prediction log besides those that name its files: totals for all time, sinks' read positions, what was removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rung.core.ids import new_id
from rung.core.records import decoded
from rung.serving.log_records import Removal, SinkState
from rung.serving.store import PREDICTION_FILE, PREDICTION_SEGMENT
from rung.storage.sql import BigInteger, Column, Connection, Index, Integer, String, delete, func, select, update
from rung.storage.tables import JsonType, id_column, project_column, table

_COUNTS = ("rows", "errors", "unlogged", "shed", "elapsed_us")
_KEY = ("model", "number", "revision", "arm", "day")
PREDICTION_TOTAL = table(
    "prediction_total",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("model", String(256), nullable=False),
    Column("number", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("arm", String(64), nullable=False),
    Column("day", String(10), nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in _COUNTS),
    Index("ux_prediction_total_key", "project", "deployment", *_KEY, unique=True),
)
PREDICTION_SINK = table(
    "prediction_sink",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("address", String(32), nullable=False),
    Column("body", JsonType, nullable=False),
    Index("ux_prediction_sink_address", "project", "deployment", "address", unique=True),
)
PREDICTION_REMOVAL = table(
    "prediction_removal",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("body", JsonType, nullable=False),
    Index("ix_prediction_removal_deployment", "project", "deployment"),
)


class LogStore:
    """Rows of the prediction log on one connection, of one project."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add_file(self, values: dict[str, Any], segments: Iterable[str]) -> None:
        """Enter a Parquet file and the segments it stands for; a segment entered before refuses the whole."""
        self._connection.execute(PREDICTION_FILE.insert().values(project=self._project, **values))
        self.note_segments(segments, values["id"])

    def note_segments(self, segments: Iterable[str], file: str) -> None:
        """Say that segments need not be read any more."""
        for segment in segments:
            self._connection.execute(PREDICTION_SEGMENT.insert().values(id=segment, file=file))

    def files(self, deployment: str | None = None) -> list[dict[str, Any]]:
        """Parquet files of a deployment's log, or of all, oldest first."""
        query = select(PREDICTION_FILE).where(PREDICTION_FILE.c.project == self._project).order_by(PREDICTION_FILE.c.id)
        query = query if deployment is None else query.where(PREDICTION_FILE.c.deployment == deployment)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def remove_files(self, ids: Sequence[str]) -> int:
        """Forget files; how many there were. Their bytes go with the next garbage collection."""
        query = delete(PREDICTION_FILE).where(PREDICTION_FILE.c.project == self._project, PREDICTION_FILE.c.id.in_(ids))
        return self._connection.execute(query).rowcount

    def set_counted(self, file: str) -> bool:
        """Say that a file's rows are in the totals; False when they were before."""
        query = update(PREDICTION_FILE).where(PREDICTION_FILE.c.project == self._project, PREDICTION_FILE.c.id == file)
        return self._connection.execute(query.where(PREDICTION_FILE.c.counted == 0).values(counted=1)).rowcount > 0

    def compacted(self, segments: Sequence[str]) -> set[str]:
        """Which of the segments need not be read any more."""
        query = select(PREDICTION_SEGMENT.c.id).where(PREDICTION_SEGMENT.c.id.in_(segments))
        return set(self._connection.execute(query).scalars())

    def add_totals(self, deployment: str, totals: Iterable[dict[str, Any]]) -> None:
        """Add to the totals."""
        for one in totals:
            mine = [PREDICTION_TOTAL.c.project == self._project, PREDICTION_TOTAL.c.deployment == deployment]
            mine += [PREDICTION_TOTAL.c[name] == one[name] for name in _KEY]
            grown = {name: PREDICTION_TOTAL.c[name] + one[name] for name in _COUNTS}
            if not self._connection.execute(update(PREDICTION_TOTAL).where(*mine).values(**grown)).rowcount:
                self._connection.execute(PREDICTION_TOTAL.insert().values(id=new_id(), project=self._project, deployment=deployment, **one))

    def totals(self, deployment: str) -> list[dict[str, Any]]:
        """Totals of what is compacted."""
        columns = [PREDICTION_TOTAL.c[name] for name in (*_KEY, *_COUNTS)]
        query = select(*columns).where(PREDICTION_TOTAL.c.project == self._project, PREDICTION_TOTAL.c.deployment == deployment)
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def sinks(self) -> list[SinkState]:
        """Every sink that was ever told something, by deployment."""
        query = select(PREDICTION_SINK.c.body).where(PREDICTION_SINK.c.project == self._project).order_by(PREDICTION_SINK.c.deployment)
        return [decoded(body, SinkState) for body in self._connection.execute(query).scalars()]

    def set_sink(self, address: str, state: SinkState) -> None:
        """Keep how far a sink has read."""
        mine = (
            PREDICTION_SINK.c.project == self._project,
            PREDICTION_SINK.c.deployment == state.deployment,
            PREDICTION_SINK.c.address == address,
        )
        if not self._connection.execute(update(PREDICTION_SINK).where(*mine).values(body=state)).rowcount:
            values = {"id": new_id(), "project": self._project, "deployment": state.deployment, "address": address}
            self._connection.execute(PREDICTION_SINK.insert().values(body=state, **values))

    def remove_sink(self, deployment: str, address: str) -> None:
        """Forget a sink that no deployment names any more."""
        mine = (
            PREDICTION_SINK.c.project == self._project,
            PREDICTION_SINK.c.deployment == deployment,
            PREDICTION_SINK.c.address == address,
        )
        self._connection.execute(delete(PREDICTION_SINK).where(*mine))

    def add_removal(self, removal: Removal) -> None:
        """Enter that predictions were removed."""
        values = {"id": removal.id, "project": self._project, "deployment": removal.deployment}
        self._connection.execute(PREDICTION_REMOVAL.insert().values(body=removal, **values))

    def removals(self, deployment: str | None = None) -> list[Removal]:
        """What was removed from the log, newest first."""
        query = (
            select(PREDICTION_REMOVAL.c.body).where(PREDICTION_REMOVAL.c.project == self._project).order_by(PREDICTION_REMOVAL.c.id.desc())
        )
        query = query if deployment is None else query.where(PREDICTION_REMOVAL.c.deployment == deployment)
        return [decoded(body, Removal) for body in self._connection.execute(query).scalars()]

    def rows(self, deployment: str) -> int:
        """Rows in Parquet."""
        query = select(func.coalesce(func.sum(PREDICTION_FILE.c.rows), 0))
        query = query.where(PREDICTION_FILE.c.project == self._project, PREDICTION_FILE.c.deployment == deployment)
        return int(self._connection.execute(query).scalar_one())
