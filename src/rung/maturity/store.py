"""Tables of maturity: signatures, targets, and the levels of kept assessments."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

import msgspec

from rung.core.errors import NotFound
from rung.core.records import Record, prepared, replaced
from rung.maturity.records import Attestation, HistoryPoint, Target
from rung.storage.sql import Column, Connection, String, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

R = TypeVar("R", bound=Record)
ATTESTATION = table(
    "attestation",
    id_column(),
    project_column(),
    Column("criterion", String(8), nullable=False),
    Column("expires_at", InstantType, nullable=False),
    Column("body", JsonType, nullable=False),
)
TARGET = table(
    "maturity_target",
    Column("project", String(32), primary_key=True),
    Column("scale", String(16), primary_key=True),
    Column("body", JsonType, nullable=False),
)
POINT = table(
    "maturity_point", id_column(), project_column(), Column("at", InstantType, nullable=False), Column("body", JsonType, nullable=False)
)


class MaturityStore:
    """Rows of maturity of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add_attestation(self, attestation: Attestation) -> None:
        """Enter a signature."""
        values = {"id": attestation.id, "criterion": attestation.criterion, "expires_at": attestation.expires_at}
        self._connection.execute(ATTESTATION.insert().values(project=self._project, body=attestation, **values))

    def attestations(self) -> tuple[Attestation, ...]:
        """Every signature, newest first."""
        query = select(ATTESTATION.c.body).where(ATTESTATION.c.project == self._project).order_by(ATTESTATION.c.id.desc())
        return self._bodies(query, Attestation)

    def withdraw(self, attestation: str, at: datetime) -> Attestation:
        """Mark a signature withdrawn. Raises NotFound."""
        for held in self.attestations():
            if held.id == attestation:
                changed = replaced(held, withdrawn_at=held.withdrawn_at or at)
                where = (ATTESTATION.c.project == self._project, ATTESTATION.c.id == attestation)
                self._connection.execute(ATTESTATION.update().where(*where).values(body=changed))
                return changed
        raise NotFound(f"There is no attestation {attestation!r}.", code="maturity.no_attestation", hint="`rung attest --list` shows them.")

    def set_target(self, target: Target) -> None:
        """Enter or replace the target on a scale."""
        self._connection.execute(TARGET.delete().where(TARGET.c.project == self._project, TARGET.c.scale == target.scale))
        self._connection.execute(TARGET.insert().values(project=self._project, scale=target.scale, body=target))

    def targets(self) -> tuple[Target, ...]:
        """Targets by scale."""
        return self._bodies(select(TARGET.c.body).where(TARGET.c.project == self._project).order_by(TARGET.c.scale), Target)

    def add_point(self, point: HistoryPoint) -> None:
        """Keep the levels of an assessment."""
        self._connection.execute(POINT.insert().values(id=point.id, project=self._project, at=point.at, body=point))

    def history(self) -> tuple[HistoryPoint, ...]:
        """Kept levels, oldest first."""
        return self._bodies(select(POINT.c.body).where(POINT.c.project == self._project).order_by(POINT.c.id), HistoryPoint)

    def _bodies(self, query: Any, kind: type[R]) -> tuple[R, ...]:
        return tuple(msgspec.convert(body, prepared(kind)) for body in self._connection.execute(query).scalars())
