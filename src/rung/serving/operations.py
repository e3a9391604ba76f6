"""Handlers of serving."""

from __future__ import annotations

from collections.abc import Callable

from rung.core.ids import new_id
from rung.core.records import replaced
from rung.core.requests import handles
from rung.serving import (
    ab_tests,  # noqa: F401 - registers its handlers
    arm_operations,  # noqa: F401 - registers its handler
    batch_operations,  # noqa: F401 - registers its handler
    configuring,  # noqa: F401 - registers its handlers
    deploying,  # noqa: F401 - registers its handlers
    graph_operations,  # noqa: F401 - registers its handlers
    log_operations,  # noqa: F401 - registers its handlers
    node_operations,  # noqa: F401 - registers its handlers
    rollouts,  # noqa: F401 - registers its handlers
)
from rung.serving import records as r
from rung.serving.answering import answer, settle
from rung.serving.codecs import frames
from rung.serving.codecs.form import tabulated
from rung.serving.judging import observed
from rung.serving.live import live_table
from rung.serving.rechecking import held_back
from rung.serving.rules import candidate, judged
from rung.serving.shadow_operations import keeping, made, newest_period
from rung.serving.store import ServingStore
from rung.storage.outbox import emit
from rung.storage.scope import Scope

_MOST_BYTES = 1 << 30


@handles(r.JudgeCanary)
def judge_canary(request: r.JudgeCanary, scope: Scope) -> Callable[[Scope], r.CanaryVerdict]:
    """Compares the arms since the canary started. Raises NotFound, Conflict without a canary."""
    settle()
    store = scope.read(
        lambda s: (
            ServingStore(s.connection, s.project).get(request.deployment),
            ServingStore(s.connection, s.project).revisions(request.deployment),
        )
    )
    held, revisions = store
    trial = candidate(held.routes)
    first = min(x.number for x in revisions if trial.number in {route.number for route in x.routes})
    seen = observed(scope, held.name, trial, since_revision=first)
    outcome, reasons = judged(request.limits, **seen)
    period = scope.read(lambda s: newest_period(s, held.name)) if trial.arm == "shadow" else None
    compared = made(scope, period) if period is not None else None
    reasons = reasons if compared is None else (*reasons, compared.conclusion)
    verdict = r.CanaryVerdict(
        id=new_id(), deployment=held.name, revision=held.revision, outcome=outcome, reasons=reasons, created_at=scope.now,  # type: ignore[arg-type]  # rules give one of the three
        canary_rows=seen["canary_rows"], stable_rows=seen["stable_rows"], canary_errors=seen["canary_errors"],
        score_distance=seen["score_distance"], slowdown=seen["slowdown"],
    )  # fmt: skip

    def save(inside: Scope) -> r.CanaryVerdict:
        against = held_back(inside, held, trial) if outcome == "passed" else ""
        found = replaced(verdict, outcome="insufficient", reasons=(against, *reasons)) if against else verdict
        if against:
            emit(inside, r.PromotionHeld(deployment=held.name, model=trial.model, number=trial.number, reason=against))
        ServingStore(inside.connection, inside.project).add_canary_verdict(found)
        if period is not None and compared is not None:
            keeping(period, compared)(inside)
        emit(
            inside,
            r.CanaryJudged(deployment=held.name, revision=held.revision, outcome=found.outcome, model=trial.model, number=trial.number),
        )
        return found

    return save


@handles(r.GetDeployment)
def get_deployment(request: r.GetDeployment, scope: Scope) -> r.Deployment:
    """One deployment. Raises NotFound."""
    return ServingStore(scope.connection, scope.project).get(request.deployment)


@handles(r.ListDeployments)
def list_deployments(request: r.ListDeployments, scope: Scope) -> tuple[r.Deployment, ...]:
    """Deployments by name."""
    return ServingStore(scope.connection, scope.project).all()


@handles(r.ListRevisions)
def list_revisions(request: r.ListRevisions, scope: Scope) -> tuple[r.Revision, ...]:
    """Revisions, newest first. Raises NotFound."""
    store = ServingStore(scope.connection, scope.project)
    return store.revisions(store.get(request.deployment).name)


@handles(r.ListCanaryVerdicts)
def list_canary_verdicts(request: r.ListCanaryVerdicts, scope: Scope) -> tuple[r.CanaryVerdict, ...]:
    """Judgements, newest first."""
    return ServingStore(scope.connection, scope.project).canary_verdicts(request.deployment)


@handles(r.Predict)
def predict(request: r.Predict, scope: Scope) -> Callable[[Scope], r.Answers]:
    """Scores a Parquet blob of rows. Raises NotFound, Invalid."""
    live = live_table(scope.database, scope.blobs, scope.settings).get(scope.project, request.deployment)
    asked = frames.asked(scope.blobs.get(request.rows), frames.PARQUET, live, _MOST_BYTES)
    found = answer(live, asked, scope.who)
    blob = scope.blobs.put(frames.reply(tabulated(found, live.version), frames.PARQUET).body)
    answers = r.Answers(deployment=request.deployment, revision=live.revision, rows=asked.rows.height, blob=blob)
    return lambda _: answers
