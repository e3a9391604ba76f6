"""Tables of serving."""

from __future__ import annotations

from typing import Any

import msgspec

from rung.core.errors import NotFound
from rung.core.records import decoded, prepared, values_of
from rung.serving.options import DeploymentOptions
from rung.serving.records import CanaryVerdict, Deployment, Revision, Route, RoutingState
from rung.serving.rollout_store import RolloutStore
from rung.storage.plain import Plain
from rung.storage.raw import Raw
from rung.storage.scope import Scope
from rung.storage.sql import BigInteger, Column, Connection, Float, Index, Integer, String, Text, UniqueConstraint, func, select
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
    Column("options", JsonType, nullable=False, server_default="{}"),
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
    Column("counted", Integer, nullable=False, server_default="0"),
    Column("first_id", String(200)),
    Column("last_id", String(200)),
    Index("ix_prediction_file_deployment", "project", "deployment"),
)
PREDICTION_SEGMENT = table("prediction_segment", id_column(), Column("file", String(32), nullable=False))
_DEPLOYMENT, _REVISION = Plain(DEPLOYMENT), Plain(REVISION)
_IN_FORCE = ("deployment", "number", "routes", "options", "created_at")
_NEWEST = (
    "project = ? AND (deployment, number) IN"
    " (SELECT deployment, max(number) FROM deployment_revision WHERE project = ? GROUP BY deployment)"
)
_GENERATION = (
    "SELECT (SELECT count(*) FROM deployment_revision), (SELECT max(id) FROM deployment_revision),"
    " (SELECT count(*) FROM routing_state), (SELECT max(id) FROM routing_state)"
)


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

    def last_revision(self, deployment: str) -> int:
        """Number of the newest revision; 0 without one."""
        query = select(func.max(REVISION.c.number)).where(REVISION.c.project == self._project, REVISION.c.deployment == deployment)
        return int(self._connection.execute(query).scalar() or 0)

    def routing_states(self) -> dict[str, RoutingState]:
        """What learning policies have made of rewards, by deployment."""
        return RolloutStore(self._connection, self._project).states()

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

    def _deployments(self, name: str | None) -> list[Deployment]:
        mine, one = (self._project,), () if name is None else (name,)
        rows = _DEPLOYMENT.rows(self._connection, f"project = ?{' AND name = ?' if one else ''}", mine + one, tail="ORDER BY name")
        of = f"{_NEWEST}{' AND deployment = ?' if one else ''}"
        revisions = _REVISION.rows(self._connection, of, mine + mine + one, columns=_IN_FORCE)
        in_force = {revision["deployment"]: revision for revision in revisions}
        return [_deployment(row, in_force[row["name"]]) for row in rows if row["name"] in in_force]


def generation(connection: Connection) -> tuple[int, str]:
    """What changes when any project's deployments do; what the data plane polls. A node replaces rows, so their number is not enough."""
    revisions, newest, states, learned = Raw(connection).rows(_GENERATION)[0]
    return int(revisions) + int(states), f"{newest or ''}{learned or ''}"


def projects_with_deployments(connection: Connection) -> list[str]:
    """Ids of projects that have deployments."""
    return [row[0] for row in Raw(connection).rows("SELECT DISTINCT project FROM deployment")]


def decoded_verdict(body: dict[str, Any]) -> CanaryVerdict:
    """A judgement from its stored form; not-a-number distances were stored as null."""
    body = {**body, **{name: float("nan") for name in ("score_distance", "slowdown") if body.get(name) is None}}
    return msgspec.convert(body, prepared(CanaryVerdict))


def _deployment(row: dict[str, Any], revision: dict[str, Any]) -> Deployment:
    return Deployment(
        id=row["id"], name=row["name"], environment=row["environment"], revision=revision["number"], routes=_routes(revision["routes"]),
        created_at=row["created_at"], changed_at=revision["created_at"], options=decoded(revision["options"], DeploymentOptions),
    )  # fmt: skip


def _routes(plain: Any) -> tuple[Route, ...]:
    return tuple(decoded(route, Route) for route in plain)


def _revision(row: Any) -> Revision:
    values = {name: row[name] for name in Revision.__struct_fields__}
    return Revision(**{**values, "routes": _routes(row["routes"]), "options": decoded(row["options"], DeploymentOptions)})


def required(scope: Scope, deployment: str | None) -> None:
    """Raise NotFound, listing the known ones, unless there is such a deployment; None stands for all."""

    def look(inside: Scope) -> None:
        ServingStore(inside.connection, inside.project).get(str(deployment))

    if deployment is not None and scope.open_connection is not None:
        look(scope)
    elif deployment is not None:
        scope.read(look)
