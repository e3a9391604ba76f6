"""Tables of serving."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Float, Index, Integer, String, Text, UniqueConstraint, func, select

from rung.core.errors import NotFound
from rung.core.records import decoded, values_of
from rung.serving.records import CanaryVerdict, Deployment, Revision, Route
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

DEPLOYMENT = table(
    "deployment",
    id_column(),
    project_column(),
    Column("name", String(128), nullable=False),
    Column("environment", String(128), nullable=False),
    Column("created_at", InstantType, nullable=False),
    UniqueConstraint("project", "name"),
)
REVISION = table(
    "deployment_revision",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("routes", JsonType, nullable=False),
    Column("change", String(16), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("actor_kind", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("verdict", String(32)),
    Column("override_reason", Text, nullable=False),
    Column("duration_ms", Float, nullable=False),
    UniqueConstraint("project", "deployment", "number"),
)
CANARY_VERDICT = table(
    "canary_verdict",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("body", JsonType, nullable=False),
    Index("ix_canary_verdict_deployment", "project", "deployment", "revision"),
)
PREDICTION_FILE = table(
    "prediction_file",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("blob", String(80), nullable=False, info={"blobs": ("",)}),
    Column("rows", BigInteger, nullable=False),
    Column("start", InstantType, nullable=False),
    Column("stop", InstantType, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Index("ix_prediction_file_deployment", "project", "deployment"),
)
PREDICTION_SEGMENT = table("prediction_segment", id_column(), Column("file", String(32), nullable=False))


class ServingStore:
    """Rows of serving on one connection, of one project."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def add_deployment(self, deployment: str, identity: str, environment: str, at: Any) -> None:
        """Enter a deployment's name."""
        self._connection.execute(
            DEPLOYMENT.insert().values(id=identity, project=self._project, name=deployment, environment=environment, created_at=at)
        )

    def find(self, name: str) -> Deployment | None:
        """A deployment with its revision in force, by name."""
        return next(iter(self._deployments(name)), None)

    def get(self, name: str) -> Deployment:
        """A deployment. Raises NotFound, listing the known names."""
        found = self.find(name)
        if found is None:
            known = ", ".join(d.name for d in self.all()) or "none"
            raise NotFound(f"There is no deployment {name!r}.", code="serving.no_deployment", hint=f"Known: {known}.")
        return found

    def all(self) -> tuple[Deployment, ...]:
        """Deployments by name."""
        return tuple(self._deployments(None))

    def add_revision(self, revision: Revision) -> None:
        """Append a revision; the unique number may refuse it."""
        self._connection.execute(REVISION.insert().values(project=self._project, **values_of(revision)))

    def revisions(self, deployment: str) -> tuple[Revision, ...]:
        """Revisions, newest first."""
        query = (
            select(REVISION)
            .where(REVISION.c.project == self._project, REVISION.c.deployment == deployment)
            .order_by(REVISION.c.number.desc())
        )
        return tuple(_revision(row) for row in self._connection.execute(query).mappings())

    def add_canary_verdict(self, verdict: CanaryVerdict) -> None:
        """Append a judgement."""
        values = {"id": verdict.id, "project": self._project, "deployment": verdict.deployment, "revision": verdict.revision}
        self._connection.execute(CANARY_VERDICT.insert().values(body=verdict, **values))

    def canary_verdicts(self, deployment: str) -> tuple[CanaryVerdict, ...]:
        """Judgements, newest first."""
        query = (
            select(CANARY_VERDICT.c.body)
            .where(CANARY_VERDICT.c.project == self._project, CANARY_VERDICT.c.deployment == deployment)
            .order_by(CANARY_VERDICT.c.id.desc())
        )
        return tuple(decoded_verdict(row.body) for row in self._connection.execute(query))

    def add_prediction_file(self, values: dict[str, Any], segments: list[str]) -> None:
        """Enter a Parquet file and the segments it stands for; a segment entered before refuses the whole."""
        self._connection.execute(PREDICTION_FILE.insert().values(project=self._project, **values))
        for segment in segments:
            self._connection.execute(PREDICTION_SEGMENT.insert().values(id=segment, file=values["id"]))

    def prediction_files(self, deployment: str) -> list[dict[str, Any]]:
        """Parquet files of a deployment's log, oldest first."""
        query = (
            select(PREDICTION_FILE)
            .where(PREDICTION_FILE.c.project == self._project, PREDICTION_FILE.c.deployment == deployment)
            .order_by(PREDICTION_FILE.c.id)
        )
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def compacted(self, segments: list[str]) -> set[str]:
        """Which of the segments are in Parquet already."""
        query = select(PREDICTION_SEGMENT.c.id).where(PREDICTION_SEGMENT.c.id.in_(segments))
        return set(self._connection.execute(query).scalars())

    def _deployments(self, name: str | None) -> list[Deployment]:
        newest = (
            select(REVISION.c.deployment, func.max(REVISION.c.number).label("number"))
            .where(REVISION.c.project == self._project)
            .group_by(REVISION.c.deployment)
            .subquery()
        )
        query = (
            select(DEPLOYMENT, REVISION.c.number, REVISION.c.routes, REVISION.c.created_at.label("changed_at"))
            .join(newest, newest.c.deployment == DEPLOYMENT.c.name)
            .join(REVISION, (REVISION.c.deployment == newest.c.deployment) & (REVISION.c.number == newest.c.number))
            .where(DEPLOYMENT.c.project == self._project, REVISION.c.project == self._project)
            .order_by(DEPLOYMENT.c.name)
        )
        query = query if name is None else query.where(DEPLOYMENT.c.name == name)
        return [
            Deployment(
                id=row["id"], name=row["name"], environment=row["environment"], revision=row["number"],
                routes=_routes(row["routes"]), created_at=row["created_at"], changed_at=row["changed_at"],
            )
            for row in self._connection.execute(query).mappings()
        ]  # fmt: skip


def generation(connection: Connection) -> tuple[int, int]:
    """Numbers that change when any project's deployments do; what the data plane polls."""
    row = connection.execute(select(func.count(), func.coalesce(func.max(REVISION.c.created_at), 0)).select_from(REVISION)).first()
    return (0, 0) if row is None else (int(row[0]), hash(row[1]))


def projects_with_deployments(connection: Connection) -> list[str]:
    """Ids of projects that have deployments."""
    return list(connection.execute(select(DEPLOYMENT.c.project).distinct()).scalars())


def decoded_verdict(body: dict[str, Any]) -> CanaryVerdict:
    """A judgement from its stored form; not-a-number distances were stored as null."""
    body = {**body, **{name: float("nan") for name in ("score_distance", "slowdown") if body.get(name) is None}}
    return msgspec.convert(body, CanaryVerdict)


def _routes(plain: Any) -> tuple[Route, ...]:
    return tuple(decoded(route, Route) for route in plain)


def _revision(row: Any) -> Revision:
    values = {name: row[name] for name in Revision.__struct_fields__}
    return Revision(**{**values, "routes": _routes(row["routes"])})
