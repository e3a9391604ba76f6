"""Tables of packages, their approvals and releases."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from rung.core.errors import Conflict, NotFound
from rung.core.records import prepared
from rung.pipelines.packaging import Package, PackageApproval, PackageContent, Release
from rung.pipelines.records import PipelineRun
from rung.pipelines.rows import plain, record, values
from rung.pipelines.store import RUN
from rung.storage.sql import BigInteger, Boolean, Column, Connection, Index, Integer, String, Text, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

PACKAGE = table(
    "pipeline_package",
    Column("project", String(32), primary_key=True),
    Column("digest", String(80), primary_key=True, info={"blobs": ("",)}),
    Column("pipelines", JsonType, nullable=False),
    Column("rung", String(64), nullable=False),
    Column("python", String(64), nullable=False),
    Column("files", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("lock", String(80), nullable=False),
    Column("lock_kind", String(32), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("git_commit", String(64), nullable=False),
    Column("git_dirty", Boolean, nullable=False),
    Column("origin", Text, nullable=False),
    Column("content", JsonType, nullable=False),
)
RELEASE = table(
    "pipeline_release",
    id_column(),
    project_column(),
    Column("package", String(80), nullable=False),
    Column("pipeline", String(128), nullable=False),
    Column("environment", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("params", JsonType, nullable=False),
    Column("url", Text, nullable=False),
    Column("pipeline_run", String(32)),
    Column("approved_by", JsonType, nullable=False),
    Column("override_reason", Text, nullable=False),
    Column("overridden", JsonType, nullable=False),
    Column("ended_at", InstantType),
    Index("ix_pipeline_release_package", "project", "package"),
)
APPROVAL = table(
    "package_approval",
    id_column(),
    project_column(),
    Column("package", String(80), nullable=False),
    Column("environment", String(128), nullable=False),
    Column("by", String(128), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("comment", Text, nullable=False),
    Column("rejected", Boolean, nullable=False),
    Column("revoked_at", InstantType),
    Index("ix_package_approval_package", "project", "package"),
)
_WHOLE, _DIGITS = 71, re.compile(r"blake3:[0-9a-f]{1,64}")


class PackageStore:
    """Rows of packages of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add(self, package: Package, content: PackageContent) -> Package:
        """Enter a package; one that is known stays as it is. The row in force."""
        held = self._find(PACKAGE.c.digest == package.digest)
        if held:
            return held[0]
        plainly = msgspec.to_builtins(content)
        self._connection.execute(PACKAGE.insert().values(project=self._project, content=plainly, **values(package)))
        return package

    def content(self, digest: str) -> PackageContent:
        """What a package consists of. Raises NotFound."""
        query = select(PACKAGE.c.content).where(PACKAGE.c.project == self._project, PACKAGE.c.digest == self.get(digest).digest)
        return msgspec.convert(self._connection.execute(query).scalar_one(), prepared(PackageContent))

    def get(self, key: str) -> Package:
        """A package by its digest or the beginning of it. Raises NotFound; Conflict where several begin so."""
        whole = key if key.startswith("blake3:") else f"blake3:{key}"
        found: list[Package] = []
        if _DIGITS.fullmatch(whole):
            found = self._find(PACKAGE.c.digest == whole if len(whole) == _WHOLE else PACKAGE.c.digest.like(f"{whole}%"))
        if not found:
            raise NotFound(
                f"There is no package {key!r}.", code="pipelines.no_package",
                hint="`rung package list` lists them; the beginning of a digest is enough.",
            )  # fmt: skip
        if len(found) > 1:
            known = ", ".join(package.digest[7:23] for package in found[:5])
            raise Conflict(
                f"{len(found)} packages begin with {key!r}: {known}.", code="pipelines.ambiguous_package", hint="Write more of it."
            )
        return found[0]

    def packages(self, pipeline: str | None, limit: int) -> tuple[Package, ...]:
        """Packages, newest first."""
        query = select(PACKAGE).where(PACKAGE.c.project == self._project).order_by(PACKAGE.c.created_at.desc(), PACKAGE.c.digest)
        found = tuple(record(row, Package) for row in self._connection.execute(query).mappings())
        return tuple(package for package in found if pipeline is None or pipeline in package.pipelines)[:limit]

    def add_release(self, release: Release) -> None:
        """Enter a release."""
        self._connection.execute(RELEASE.insert().values(project=self._project, **values(release)))

    def update_release(self, release: str, **changes: Any) -> None:
        """Change fields of a release."""
        self._connection.execute(
            RELEASE.update().where(RELEASE.c.project == self._project, RELEASE.c.id == release).values(**plain(changes))
        )

    def release(self, key: str) -> Release:
        """A release by id. Raises NotFound."""
        found = self._releases(RELEASE.c.id == key)
        if not found:
            raise NotFound(f"There is no release {key!r}.", code="pipelines.no_release", hint="`rung release list` lists them.")
        return found[0]

    def releases(
        self, *, package: str | None = None, pipeline: str | None = None, environment: str | None = None, limit: int | None = None
    ) -> tuple[Release, ...]:
        """Releases, newest first; the status of those that ran here is that of their run now."""
        wanted = ((RELEASE.c.package, package), (RELEASE.c.pipeline, pipeline), (RELEASE.c.environment, environment))
        return self._releases(*(column == value for column, value in wanted if value is not None), limit=limit)

    def runs_in(self, environment: str, pipeline: str | None, limit: int) -> tuple[PipelineRun, ...]:
        """Pipeline runs of an environment that are no reproductions, newest first."""
        query = select(RUN).where(RUN.c.project == self._project, RUN.c.environment == environment, RUN.c.reproduces.is_(None))
        query = query if pipeline is None else query.where(RUN.c.pipeline == pipeline)
        rows = self._connection.execute(query.order_by(RUN.c.id.desc()).limit(limit)).mappings()
        return tuple(record(row, PipelineRun) for row in rows)

    def add_approval(self, approval: PackageApproval) -> None:
        """Enter an approval or rejection."""
        self._connection.execute(APPROVAL.insert().values(project=self._project, **values(approval)))

    def revoke(self, approval: str, at: datetime) -> None:
        """Take an approval back."""
        where = (APPROVAL.c.project == self._project, APPROVAL.c.id == approval)
        self._connection.execute(APPROVAL.update().where(*where).values(revoked_at=at))

    def approval(self, key: str) -> PackageApproval:
        """An approval by id. Raises NotFound."""
        row = self._connection.execute(select(APPROVAL).where(APPROVAL.c.project == self._project, APPROVAL.c.id == key)).mappings().first()
        if row is None:
            raise NotFound(f"There is no approval {key!r}.", code="pipelines.no_approval", hint="`rung release approvals` lists them.")
        return record(row, PackageApproval)

    def approvals(self, package: str, environment: str) -> tuple[PackageApproval, ...]:
        """Approvals of a package for an environment, oldest first."""
        query = select(APPROVAL).where(
            APPROVAL.c.project == self._project, APPROVAL.c.package == package, APPROVAL.c.environment == environment
        )
        return tuple(record(row, PackageApproval) for row in self._connection.execute(query.order_by(APPROVAL.c.id)).mappings())

    def _find(self, condition: Any) -> list[Package]:
        query = select(PACKAGE).where(PACKAGE.c.project == self._project, condition)
        return [record(row, Package) for row in self._connection.execute(query).mappings()]

    def _releases(self, *conditions: Any, limit: int | None = None) -> tuple[Release, ...]:
        run = RUN.c.status.label("run_status"), RUN.c.ended_at.label("run_ended_at")
        query = select(RELEASE, *run).join(RUN, (RUN.c.id == RELEASE.c.pipeline_run) & (RUN.c.project == RELEASE.c.project), isouter=True)
        rows = self._connection.execute(
            query.where(RELEASE.c.project == self._project, *conditions).order_by(RELEASE.c.id.desc()).limit(limit)
        ).mappings()
        return tuple(record(_current(row), Release) for row in rows)


def _current(row: Any) -> dict[str, Any]:
    found = dict(row)
    if not found["url"] and found["run_status"]:
        found |= {"status": found["run_status"], "ended_at": found["run_ended_at"]}
    return found
