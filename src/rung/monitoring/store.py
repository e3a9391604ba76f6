"""Tables of monitoring."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from rung.core.errors import NotFound
from rung.core.records import Record, prepared
from rung.monitoring.records import Alert, Diagnosis, Incident, LabelBatch, Monitor, WindowReport
from rung.storage.raw import Raw
from rung.storage.sql import BigInteger, Boolean, Column, Connection, Index, Integer, String, Text, UniqueConstraint, func, or_, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

R = TypeVar("R", bound=Record)

MONITOR = table(
    "monitor",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("body", JsonType, nullable=False),
    Column("created_at", InstantType, nullable=False),
    UniqueConstraint("project", "deployment"),
)
WINDOW = table(
    "monitor_window",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("started_at", InstantType, nullable=False),
    Column("ended_at", InstantType, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("body", JsonType, nullable=False),
    UniqueConstraint("project", "deployment", "started_at", "ended_at"),
)
ALERT = table(
    "alert",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("rule", String(16), nullable=False),
    Column("started_at", InstantType, nullable=False),
    Column("ended_at", InstantType, nullable=False),
    Column("incident", String(32), nullable=False),
    Column("body", JsonType, nullable=False),
    UniqueConstraint("project", "deployment", "rule", "started_at", "ended_at"),
    Index("ix_alert_incident", "project", "incident"),
)
INCIDENT = table(
    "incident",
    id_column(),
    project_column(),
    Column("number", Integer, nullable=False),
    Column("deployment", String(128), nullable=False),
    Column("rule", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("body", JsonType, nullable=False),
    UniqueConstraint("project", "number"),
    Index("ix_incident_deployment", "project", "deployment", "status"),
)
DIAGNOSIS = table(
    "diagnosis",
    id_column(),
    project_column(),
    Column("incident", String(32), nullable=False),
    Column("as_of", InstantType, nullable=False),
    Column("cause", String(32), nullable=False),
    Column("body", JsonType, nullable=False),
    UniqueConstraint("project", "incident", "as_of"),
)
LABEL_BATCH = table(
    "label_batch",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("digest", String(80), nullable=False, info={"blobs": ("",)}),
    Column("rows", BigInteger, nullable=False),
    Column("first_arrival", InstantType, nullable=False),
    Column("last_arrival", InstantType, nullable=False),
    Column("source", Text, nullable=False),
    Column("created_at", InstantType, nullable=False),
    UniqueConstraint("project", "deployment", "digest"),
)


class MonitoringStore:
    """Rows of monitoring on one connection, of one project."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def take_turn(self) -> None:
        """Let nobody else change monitors, windows or incidents of the project until the transaction ends."""
        Raw(self._connection).take_turn("monitoring", self._project)

    def save_monitor(self, monitor: Monitor) -> None:
        """Enter a monitor in place of the deployment's former one."""
        self._connection.execute(MONITOR.delete().where(MONITOR.c.project == self._project, MONITOR.c.deployment == monitor.deployment))
        values = {"id": monitor.id, "deployment": monitor.deployment, "body": monitor, "created_at": monitor.created_at}
        self._connection.execute(MONITOR.insert().values(project=self._project, **values))

    def find_monitor(self, deployment: str) -> Monitor | None:
        """The monitor of a deployment."""
        query = select(MONITOR.c.body).where(MONITOR.c.project == self._project, MONITOR.c.deployment == deployment)
        return next(iter(self._bodies(query, Monitor)), None)

    def monitor(self, deployment: str) -> Monitor:
        """The monitor of a deployment. Raises NotFound."""
        found = self.find_monitor(deployment)
        if found is None:
            raise NotFound(f"Nothing watches {deployment!r}.", code="monitoring.no_monitor", hint=f"Run `rung monitor add {deployment}`.")
        return found

    def monitors(self) -> tuple[Monitor, ...]:
        """Monitors by deployment."""
        return self._bodies(select(MONITOR.c.body).where(MONITOR.c.project == self._project).order_by(MONITOR.c.deployment), Monitor)

    def save_window(self, window: WindowReport) -> None:
        """Enter a window's report in place of the former one."""
        same = (WINDOW.c.deployment == window.deployment, WINDOW.c.started_at == window.start, WINDOW.c.ended_at == window.end)
        self._connection.execute(WINDOW.delete().where(WINDOW.c.project == self._project, *same))
        self._connection.execute(
            WINDOW.insert().values(
                id=window.id, project=self._project, deployment=window.deployment, started_at=window.start,
                ended_at=window.end, final=window.final, body=window,
            )
        )  # fmt: skip

    def windows(self, deployment: str, start: datetime | None = None, end: datetime | None = None) -> tuple[WindowReport, ...]:
        """Stored windows that start in [start, end), oldest first."""
        query = select(WINDOW.c.body).where(WINDOW.c.project == self._project, WINDOW.c.deployment == deployment)
        query = query if start is None else query.where(WINDOW.c.started_at >= start)
        query = query if end is None else query.where(WINDOW.c.started_at < end)
        return self._bodies(query.order_by(WINDOW.c.started_at, WINDOW.c.ended_at), WindowReport)

    def drop_windows(self, deployment: str) -> None:
        """Forget every stored window: the monitor's question changed."""
        self._connection.execute(WINDOW.delete().where(WINDOW.c.project == self._project, WINDOW.c.deployment == deployment))

    def find_alert(self, deployment: str, rule: str, start: datetime, end: datetime) -> Alert | None:
        """The alert of a rule in a window."""
        where = (ALERT.c.deployment == deployment, ALERT.c.rule == rule, ALERT.c.started_at == start, ALERT.c.ended_at == end)
        return next(iter(self._bodies(select(ALERT.c.body).where(ALERT.c.project == self._project, *where), Alert)), None)

    def add_alert(self, alert: Alert) -> None:
        """Append an alert; a second one of the same rule and window is refused."""
        self._connection.execute(
            ALERT.insert().values(
                id=alert.id, project=self._project, deployment=alert.deployment, rule=alert.rule, started_at=alert.start,
                ended_at=alert.end, incident=alert.incident, body=alert,
            )
        )  # fmt: skip

    def alerts(self, *, deployment: str | None = None, incident: str | None = None) -> tuple[Alert, ...]:
        """Alerts, by window."""
        query = select(ALERT.c.body).where(ALERT.c.project == self._project)
        query = query if deployment is None else query.where(ALERT.c.deployment == deployment)
        query = query if incident is None else query.where(ALERT.c.incident == incident)
        return self._bodies(query.order_by(ALERT.c.started_at, ALERT.c.id), Alert)

    def next_incident_number(self) -> int:
        """The number after the highest one given."""
        newest = self._connection.execute(select(func.max(INCIDENT.c.number)).where(INCIDENT.c.project == self._project)).scalar()
        return int(newest or 0) + 1

    def save_incident(self, incident: Incident) -> None:
        """Enter an incident in place of its former state."""
        self._connection.execute(INCIDENT.delete().where(INCIDENT.c.project == self._project, INCIDENT.c.id == incident.id))
        self._connection.execute(
            INCIDENT.insert().values(
                id=incident.id, project=self._project, number=incident.number, deployment=incident.deployment, rule=incident.rule,
                status=incident.status, body=incident,
            )
        )  # fmt: skip

    def incident(self, key: str) -> Incident:
        """An incident by id or number. Raises NotFound."""
        same = INCIDENT.c.id == key
        if key.isdigit() and len(key) < 10:  # noqa: PLR2004 - numbers are 32-bit, ids have 32 digits
            same = or_(same, INCIDENT.c.number == int(key))
        found = self._bodies(select(INCIDENT.c.body).where(INCIDENT.c.project == self._project, same), Incident)
        if not found:
            raise NotFound(f"There is no incident {key!r}.", code="monitoring.no_incident", hint="`rung incident list` shows them.")
        return found[0]

    def incidents(self, *, deployment: str | None = None, status: str | None = None) -> tuple[Incident, ...]:
        """Incidents, newest first."""
        query = select(INCIDENT.c.body).where(INCIDENT.c.project == self._project)
        query = query if deployment is None else query.where(INCIDENT.c.deployment == deployment)
        query = query if status is None else query.where(INCIDENT.c.status == status)
        return self._bodies(query.order_by(INCIDENT.c.number.desc()), Incident)

    def add_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Append a diagnosis; a second one of the same incident and instant is refused."""
        self._connection.execute(
            DIAGNOSIS.insert().values(
                id=diagnosis.id,
                project=self._project,
                incident=diagnosis.incident,
                as_of=diagnosis.as_of,
                cause=diagnosis.cause,
                body=diagnosis,
            )
        )

    def diagnoses(self, incident: str) -> tuple[Diagnosis, ...]:
        """Diagnoses of an incident (by id), newest first."""
        query = select(DIAGNOSIS.c.body).where(DIAGNOSIS.c.project == self._project, DIAGNOSIS.c.incident == incident)
        return self._bodies(query.order_by(DIAGNOSIS.c.as_of.desc()), Diagnosis)

    def find_diagnosis(self, key: str) -> Diagnosis | None:
        """A diagnosis by id."""
        query = select(DIAGNOSIS.c.body).where(DIAGNOSIS.c.project == self._project, DIAGNOSIS.c.id == key)
        return next(iter(self._bodies(query, Diagnosis)), None)

    def add_label_batch(self, batch: LabelBatch) -> None:
        """Append a delivery of labels; the same bytes a second time are refused."""
        values = {name: getattr(batch, name) for name in LabelBatch.__struct_fields__ if name != "repeated"}
        self._connection.execute(LABEL_BATCH.insert().values(project=self._project, **values))

    def label_batches(self, deployment: str) -> tuple[LabelBatch, ...]:
        """Deliveries of labels to a deployment, oldest first."""
        query = select(LABEL_BATCH).where(LABEL_BATCH.c.project == self._project, LABEL_BATCH.c.deployment == deployment)
        rows = self._connection.execute(query.order_by(LABEL_BATCH.c.id)).mappings()
        return tuple(LabelBatch(**{name: value for name, value in row.items() if name != "project"}) for row in rows)

    def _bodies(self, query: Any, kind: type[R]) -> tuple[R, ...]:
        return tuple(msgspec.convert(row.body, prepared(kind)) for row in self._connection.execute(query))
