"""Tables of delivery."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from rung.core.records import Record
from rung.delivery.records import Dossier, ReleaseNote
from rung.storage.sql import Column, Connection, Integer, String, select
from rung.storage.tables import JsonType, id_column, project_column, table

R = TypeVar("R", bound=Record)
DOSSIER = table(
    "dossier",
    id_column(),
    project_column(),
    Column("model", String(256), nullable=False),
    Column("number", Integer, nullable=False),
    Column("body", JsonType, nullable=False, info={"blobs": ("digest",)}),
)
NOTE = table(
    "release_note",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("body", JsonType, nullable=False),
)


class DeliveryStore:
    """Rows of delivery of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add_dossier(self, dossier: Dossier) -> None:
        """Enter a dossier."""
        values = {"id": dossier.id, "model": dossier.model, "number": dossier.number}
        self._connection.execute(DOSSIER.insert().values(project=self._project, body=dossier, **values))

    def dossiers(self, model: str | None) -> tuple[Dossier, ...]:
        """Dossiers, newest first."""
        query = select(DOSSIER.c.body).where(DOSSIER.c.project == self._project)
        query = query if model is None else query.where(DOSSIER.c.model == model)
        return self._bodies(query.order_by(DOSSIER.c.id.desc()), Dossier)

    def add_note(self, note: ReleaseNote) -> None:
        """Enter a release note."""
        values = {"id": note.id, "deployment": note.deployment, "revision": note.revision}
        self._connection.execute(NOTE.insert().values(project=self._project, body=note, **values))

    def notes(self, deployment: str | None) -> tuple[ReleaseNote, ...]:
        """Release notes, newest first."""
        query = select(NOTE.c.body).where(NOTE.c.project == self._project)
        query = query if deployment is None else query.where(NOTE.c.deployment == deployment)
        return self._bodies(query.order_by(NOTE.c.id.desc()), ReleaseNote)

    def _bodies(self, query: Any, kind: type[R]) -> tuple[R, ...]:
        return tuple(msgspec.convert(body, kind) for body in self._connection.execute(query).scalars())
