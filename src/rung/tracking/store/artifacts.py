"""Rows of artifacts."""

from __future__ import annotations

from typing import Any

from rung.core.clock import to_micros
from rung.core.errors import NotFound
from rung.storage.raw import Raw
from rung.storage.sql import Connection, and_, func, or_, select
from rung.tracking.records import Artifact
from rung.tracking.store.tables import ARTIFACT

_SET = (
    "INSERT INTO artifact (owner, path, project, digest, size_bytes, media_type, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (owner, path, project) DO UPDATE SET digest = excluded.digest, size_bytes = excluded.size_bytes,"
    " media_type = excluded.media_type, created_at = excluded.created_at"
)


class ArtifactStore:
    """Artifacts of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def set(self, artifact: Artifact) -> None:
        """Enter an artifact in place of one of the same path."""
        values = (
            artifact.owner, artifact.path, self._project, artifact.digest, artifact.size_bytes, artifact.media_type,
            to_micros(artifact.created_at),
        )  # fmt: skip
        Raw(self._connection).change(_SET, values)

    def find(self, owner: str, path: str) -> Artifact | None:
        """An artifact by its path."""
        row = self._connection.execute(select(ARTIFACT).where(self._of(owner), ARTIFACT.c.path == path)).mappings().first()
        return None if row is None else _artifact(row)

    def get(self, owner: str, path: str) -> Artifact:
        """An artifact by its path. Raises NotFound."""
        found = self.find(owner, path)
        if found is None:
            raise NotFound(f"There is no artifact {path!r} of {owner}.", code="tracking.no_artifact", hint="List the artifacts first.")
        return found

    def list(self, owner: str, under: str = "") -> tuple[Artifact, ...]:
        """Artifacts of an owner by path, those below a folder where it is given."""
        query = select(ARTIFACT).where(self._of(owner))
        if under:
            query = query.where(_below(under))
        found = [_artifact(row) for row in self._connection.execute(query).mappings()]
        return tuple(sorted(found, key=lambda artifact: artifact.path))

    def delete(self, owner: str, path: str = "") -> tuple[Artifact, ...]:
        """Forget an artifact and all below a folder of that path, or everything of an owner; what was forgotten."""
        found = self.list(owner) if not path else tuple(a for a in (self.find(owner, path),) if a) + self.list(owner, path)
        where = self._of(owner) if not path else and_(self._of(owner), or_(ARTIFACT.c.path == path, _below(path)))
        self._connection.execute(ARTIFACT.delete().where(where))
        return found

    def _of(self, owner: str) -> Any:
        return and_(ARTIFACT.c.owner == owner, ARTIFACT.c.project == self._project)


def _below(folder: str) -> Any:
    """Paths below a folder; compared as a prefix, so that no pattern has to be escaped and case counts on every engine."""
    start = folder.rstrip("/") + "/"
    return func.substr(ARTIFACT.c.path, 1, len(start)) == start


def _artifact(row: Any) -> Artifact:
    return Artifact(**{name: row[name] for name in Artifact.__struct_fields__})
