"""Tables of rollouts, of A/B tests, and of what learning policies have made of rewards."""

from __future__ import annotations

from typing import Any

from rung.core.errors import NotFound
from rung.core.records import Record, decoded
from rung.serving.ab_records import AbLook, AbTest
from rung.serving.comparing_records import ShadowComparison
from rung.serving.records import Revision, RoutingState
from rung.serving.rollout_records import Rollout, RolloutJudgement
from rung.serving.rollout_rules import after_arms, after_revision
from rung.storage.plain import Plain
from rung.storage.sql import Column, Connection, Index, String, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

ROLLOUT = table(
    "rollout",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("body", JsonType, nullable=False),
    Index("ix_rollout_deployment", "project", "deployment", "state"),
)
AB_TEST = table(
    "ab_test",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("body", JsonType, nullable=False),
    Index("ix_ab_test_deployment", "project", "deployment", "state"),
)
LOOK = table(
    "release_look",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subject", String(32), nullable=False),
    Column("body", JsonType, nullable=False),
    Index("ix_release_look_subject", "project", "deployment", "kind", "subject"),
)
ROUTING_STATE = table(
    "routing_state",
    id_column(),
    project_column(),
    Column("deployment", String(128), nullable=False),
    Column("changed_at", InstantType, nullable=False),
    Column("body", JsonType, nullable=False),
    Index("ix_routing_state_deployment", "project", "deployment"),
)
_ROUTING_STATE = Plain(ROUTING_STATE)
_ACTIVE = ("growing", "paused")


class RolloutStore:
    """Rows of releases on one connection, of one project."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def save(self, rollout: Rollout) -> None:
        """Enter a rollout, or its new state."""
        self._upsert(ROLLOUT, rollout.id, deployment=rollout.deployment, state=rollout.state, body=rollout)

    def rollouts(self, deployment: str | None, *, active: bool = False, held: bool = False) -> tuple[Rollout, ...]:
        """Rollouts, newest first; ``held`` against other transactions until this one has changed them."""
        query = select(ROLLOUT.c.body).where(ROLLOUT.c.project == self._project).order_by(ROLLOUT.c.id.desc())
        query = query if deployment is None else query.where(ROLLOUT.c.deployment == deployment)
        query = query.where(ROLLOUT.c.state.in_(_ACTIVE)) if active else query
        query = query.with_for_update() if held else query  # on SQLite there is one writer at a time
        return tuple(decoded(with_nans(body), Rollout) for body in self._connection.execute(query).scalars())

    def find_active(self, deployment: str, *, held: bool = False) -> Rollout | None:
        """The rollout under way."""
        return next(iter(self.rollouts(deployment, active=True, held=held)), None)

    def active(self, deployment: str, *, held: bool = False) -> Rollout:
        """The rollout under way; ``held`` for who is about to save it anew. Raises NotFound."""
        found = self.find_active(deployment, held=held)
        if found is None:
            raise NotFound(
                f"No canary of {deployment!r} is growing.",
                code="serving.no_rollout",
                hint=f"Start one: rung deploy MODEL:N --name {deployment} --canary 5% --grow.",
            )
        return found

    def overtaken(self, revision: Revision, *, keep: str | None) -> None:
        """Note that a revision was made beside the rollout or the A/B test under way, unless that rollout made it."""
        held = self.find_active(revision.deployment)
        if held is not None and held.id != keep:
            self.save(after_revision(held, revision))
        for test in self.tests(revision.deployment, active=True):
            self.save_test(after_arms(test, revision))

    def add_judgement(self, judgement: RolloutJudgement) -> None:
        """Append a look at a canary."""
        self._add_look("rollout", judgement.rollout, judgement.deployment, judgement.id, judgement)

    def judgements(self, deployment: str, rollout: str | None = None) -> tuple[RolloutJudgement, ...]:
        """Looks at canaries, newest first."""
        return tuple(decoded(body, RolloutJudgement) for body in self._looks("rollout", deployment, rollout))

    def keep_comparison(self, subject: str, comparison: ShadowComparison) -> None:
        """Enter the comparison of a shadow, by the id of the revision in which it began, or put it in place of the one kept."""
        self._upsert(LOOK, subject, deployment=comparison.deployment, kind="shadow", subject=subject, body=comparison)

    def comparison(self, deployment: str, subject: str) -> ShadowComparison | None:
        """The comparison kept of one shadow."""
        found = self._looks("shadow", deployment, subject)
        return decoded(found[0], ShadowComparison) if found else None

    def comparisons(self, deployment: str) -> tuple[ShadowComparison, ...]:
        """Comparisons kept of shadows, newest first."""
        return tuple(decoded(body, ShadowComparison) for body in self._looks("shadow", deployment, None))

    def save_test(self, test: AbTest) -> None:
        """Enter an A/B test, or its new state."""
        self._upsert(AB_TEST, test.id, deployment=test.deployment, state=test.state, body=test)

    def tests(self, deployment: str | None, *, active: bool = False, held: bool = False) -> tuple[AbTest, ...]:
        """A/B tests, newest first; ``held`` against other transactions until this one has changed them."""
        query = select(AB_TEST.c.body).where(AB_TEST.c.project == self._project).order_by(AB_TEST.c.id.desc())
        query = query if deployment is None else query.where(AB_TEST.c.deployment == deployment)
        query = query.where(AB_TEST.c.state == "running") if active else query
        query = query.with_for_update() if held else query
        return tuple(decoded(with_nans(body), AbTest) for body in self._connection.execute(query).scalars())

    def test(self, deployment: str, *, held: bool = False) -> AbTest:
        """The newest A/B test of a deployment; ``held`` for who is about to save it anew. Raises NotFound."""
        found = next(iter(self.tests(deployment, held=held)), None)
        if found is None:
            raise NotFound(
                f"{deployment!r} has no A/B test.", code="serving.no_ab_test", hint=f"Start one: rung ab start {deployment} MODEL:N=50%."
            )
        return found

    def add_look(self, look: AbLook) -> None:
        """Append a look at an A/B test."""
        self._add_look("ab", look.test, look.deployment, look.id, look)

    def looks(self, deployment: str, test: str) -> tuple[AbLook, ...]:
        """Looks at an A/B test, newest first."""
        return tuple(decoded(body, AbLook) for body in self._looks("ab", deployment, test))

    def save_state(self, identity: str, state: RoutingState) -> None:
        """Keep what a policy has learned; the newest of a deployment is in force."""
        self._connection.execute(
            ROUTING_STATE.insert().values(
                id=identity, project=self._project, deployment=state.deployment, changed_at=state.as_of, body=state
            )
        )

    def states(self) -> dict[str, RoutingState]:
        """What policies have learned, the newest by deployment."""
        newest = "id IN (SELECT max(id) FROM routing_state WHERE project = ? GROUP BY deployment)"
        rows = _ROUTING_STATE.rows(self._connection, newest, (self._project,), columns=("body",))
        found = (decoded(with_nans(row["body"]), RoutingState) for row in rows)
        return {state.deployment: state for state in found}

    def _upsert(self, of: Any, identity: str, **values: Any) -> None:
        where = (of.c.id == identity, of.c.project == self._project)
        if not self._connection.execute(of.update().where(*where).values(**values)).rowcount:
            self._connection.execute(of.insert().values(id=identity, project=self._project, **values))

    def _add_look(self, kind: str, subject: str, deployment: str, identity: str, body: Record) -> None:
        self._connection.execute(
            LOOK.insert().values(id=identity, project=self._project, deployment=deployment, kind=kind, subject=subject, body=body)
        )

    def _looks(self, kind: str, deployment: str, subject: str | None) -> list[Any]:
        query = select(LOOK.c.body).where(LOOK.c.project == self._project, LOOK.c.deployment == deployment, LOOK.c.kind == kind)
        query = query if subject is None else query.where(LOOK.c.subject == subject)
        return [with_nans(body) for body in self._connection.execute(query.order_by(LOOK.c.id.desc())).scalars()]


def under_way(connection: Connection) -> list[tuple[str, str]]:
    """Project and deployment of every canary that grows, or is paused."""
    query = select(ROLLOUT.c.project, ROLLOUT.c.deployment).where(ROLLOUT.c.state.in_(_ACTIVE)).order_by(ROLLOUT.c.id)
    return [(row.project, row.deployment) for row in connection.execute(query)]


def looks_of(connection: Connection, project: str, deployment: str) -> int:
    """How often the canary under way was looked at; 0 without one."""
    held = RolloutStore(connection, project).find_active(deployment)
    return held.looks if held else 0


def with_nans(body: Any) -> Any:
    """A stored body whose figures that are no number were stored as null."""
    if isinstance(body, dict):
        return {name: float("nan") if value is None and name in _FIGURES else with_nans(value) for name, value in body.items()}
    return [with_nans(item) for item in body] if isinstance(body, list) else body


_FIGURES = {
    "figure", "limit", "low", "high", "mean", "error", "difference", "p", "total", "squares", "error_share", "agreement", "agreement_low",
    "agreement_high", "mean_difference", "mean_absolute", "largest", "correlation", "distance", "time_ms", "beside_time_ms", "slowdown",
    "slowdown_low", "slowdown_high",
}  # fmt: skip
