"""Growing canaries: a look is kept as a judgement, a judgement is acted on once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from rung.core.errors import Conflict
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.core.requests import handles
from rung.serving import rollout_records as r
from rung.serving.deploying import draft_abort
from rung.serving.gates import ROLLOUT_GATES, Look
from rung.serving.rechecking import held_back, recheck
from rung.serving.records import AbortCanary, Deployment, PromotionHeld, Revision, Route
from rung.serving.revising import drafted, saved
from rung.serving.rollout_rules import action_of, grown, is_news, judged, next_share, spent
from rung.serving.rollout_store import RolloutStore
from rung.serving.rules import promoted, with_share, without_canary
from rung.serving.store import ServingStore
from rung.storage.outbox import emit
from rung.storage.scope import Scope

if TYPE_CHECKING:
    from rung.serving.judging import Seen


@handles(r.ListRollouts)
def list_rollouts(request: r.ListRollouts, scope: Scope) -> tuple[r.Rollout, ...]:
    """Rollouts, newest first."""
    return RolloutStore(scope.connection, scope.project).rollouts(request.deployment, active=request.active)


@handles(r.ListRolloutJudgements)
def list_rollout_judgements(request: r.ListRolloutJudgements, scope: Scope) -> tuple[r.RolloutJudgement, ...]:
    """Looks, newest first."""
    return RolloutStore(scope.connection, scope.project).judgements(request.deployment, request.rollout)


@handles(r.WeighRollout)
def weigh_rollout(request: r.WeighRollout, scope: Scope) -> Callable[[Scope], r.Rollout]:
    """The rollout with its newest look, when there was news to look at. Raises NotFound."""
    from rung.serving.answering import settle  # noqa: PLC0415 - see below
    from rung.serving.judging import labels_of, seen  # noqa: PLC0415 - Polars, which `rung up` must not wait for

    settle()
    held, rollout = scope.read(lambda s: (ServingStore(s.connection, s.project).get(request.deployment), _active(s, request.deployment)))
    if not any((x.arm, x.model, x.number) == ("canary", rollout.model, rollout.number) for x in held.routes):
        return lambda _: rollout
    trial = Route(model=rollout.model, number=rollout.number, share=rollout.share, arm="canary")
    labels = labels_of(scope, request.labels) if request.labels else None
    found = seen(scope, held.name, trial, since_revision=rollout.first_revision, step_revision=rollout.step_revision, labels=labels)
    waited, elapsed = _times(found, rollout, scope.now)
    due = waited >= rollout.plan.give_up_s or (found.step_rows >= rollout.plan.step_rows and elapsed >= rollout.plan.step_s)
    rows = found.step_rows + found.canary.errors
    if not is_news(rollout, rows, found.canary.labels.size, at_step_end=due) and waited < rollout.plan.give_up_s:
        return lambda _: rollout
    judgement = _judgement(rollout, held, found, scope.now, elapsed=elapsed, waited=waited)

    def save(inside: Scope) -> r.Rollout:
        store = RolloutStore(inside.connection, inside.project)
        now = store.active(held.name, held=True)
        if now.id != rollout.id or now.looks != rollout.looks or now.step != rollout.step:
            if not request.labels:
                return now  # somebody has looked or acted meanwhile
            raise Conflict(
                f"The canary of {held.name} was looked at meanwhile.", code="serving.looked_meanwhile", hint="Bring the labels again."
            )
        looked = replaced(
            now, looks=judgement.look, looked_rows=rows, looked_labels=found.canary.labels.size, latest=judgement, changed_at=inside.now
        )
        store.add_judgement(judgement)
        store.save(looked)
        if judgement.action != "wait":
            emit(inside, r.RolloutJudged(deployment=held.name, rollout=now.id, judgement=judgement.id, action=judgement.action))
        return looked

    return save


@handles(r.AdvanceRollout)
def advance_rollout(request: r.AdvanceRollout, scope: Scope) -> r.Rollout:
    """The rollout after its judgement was acted on. Raises NotFound for a deployment without a rollout under way."""
    store = RolloutStore(scope.connection, scope.project)
    rollout = store.active(request.deployment, held=True)
    judgement = rollout.latest
    held = ServingStore(scope.connection, scope.project).get(request.deployment)
    if judgement is None or judgement.id != request.judgement or judgement.step != rollout.step or judgement.action == "wait":
        return rollout  # overtaken
    if judgement.action != "roll_back" and rollout.state == "paused":
        return rollout
    why = judgement.reasons if judgement.action == "roll_back" else judgement.reasons[:1]  # the judgement keeps what every gate found
    reason = " ".join(why)[:4000]
    against = "" if judgement.action == "roll_back" else _against(scope, held)
    if against:
        after = replaced(rollout, state="paused", reason=f"Held: {against}", changed_at=scope.now)
        emit(scope, PromotionHeld(deployment=held.name, model=rollout.model, number=rollout.number, reason=against))
        store.save(after)
        return after
    if judgement.action == "grow":
        revision = saved(scope, drafted(held, with_share(held.routes, next_share(rollout)), "grow", reason, rollout=rollout.id))
        after = grown(rollout, revision, scope.now)
    else:
        up = judgement.action == "promote"
        routes = promoted(held.routes) if up else without_canary(held.routes)
        revision = saved(scope, drafted(held, routes, "promote" if up else "rollback", reason, rollout=rollout.id))
        state: r.RolloutState = "promoted" if up else "rolled_back"
        after = replaced(rollout, state=state, share=1.0 if up else 0.0, revision=revision.number, reason=reason, changed_at=scope.now)
        _ended(scope, after)
    store.save(after)
    return after


@handles(r.PauseRollout)
def pause_rollout(request: r.PauseRollout, scope: Scope) -> r.Rollout:
    """The rollout, paused. Raises NotFound, Conflict."""
    return _switched(scope, request.deployment, "growing", "paused", request.reason)


@handles(r.ResumeRollout)
def resume_rollout(request: r.ResumeRollout, scope: Scope) -> r.Rollout:
    """The rollout, growing again from the share it has. Raises NotFound, Conflict while its version may not have more of the traffic."""
    held = ServingStore(scope.connection, scope.project).get(request.deployment)
    if RolloutStore(scope.connection, scope.project).active(request.deployment, held=True).state == "paused" and held.canary is not None:
        recheck(scope, held, held.canary)
    return _switched(scope, request.deployment, "paused", "growing", request.reason)


@handles(r.AbortRollout)
def abort_rollout(request: r.AbortRollout, scope: Scope) -> Revision:
    """The revision without the canary. Raises NotFound."""
    store = RolloutStore(scope.connection, scope.project)
    rollout = store.active(request.deployment)
    revision = saved(scope, draft_abort(AbortCanary(deployment=request.deployment, reason=request.reason or "aborted by hand"), scope))
    _ended(scope, replaced(rollout, state="aborted", reason=revision.reason))
    return revision


def _judgement(rollout: r.Rollout, held: Deployment, found: Seen, now: datetime, *, elapsed: float, waited: float) -> r.RolloutJudgement:
    plan, look = rollout.plan, rollout.looks + 1
    wanted = plan.gates or {name: {} for name in ROLLOUT_GATES.names()}
    alpha = spent(look)
    both = Look(canary=found.canary, stable=found.stable, alpha=alpha / len(wanted))
    gates = [(ROLLOUT_GATES.get(name), settings) for name, settings in sorted(wanted.items())]
    findings = tuple(gate.judge(both, gate.checked(settings)) for gate, settings in gates)
    outcome, reasons = judged(plan, findings, found.step_rows, elapsed)
    action, why = action_of(rollout, outcome, waited_s=waited)
    return r.RolloutJudgement(
        id=new_id(), rollout=rollout.id, deployment=held.name, revision=held.revision, step=rollout.step, share=rollout.share, look=look,
        alpha=alpha, outcome=outcome, action=action, findings=findings, canary_rows=found.canary.rows, stable_rows=found.stable.rows,
        labelled_rows=found.canary.labels.size, watermark=found.watermark, reasons=(*((why,) if why else ()), *reasons), created_at=now,
    )  # fmt: skip


def _times(found: Seen, rollout: r.Rollout, now: datetime) -> tuple[float, float]:
    """Seconds the step has waited, and lasted in the time of events; a deployment that nobody asks waits by the platform's clock."""
    if found.first_event is None or found.watermark is None:
        return (now - rollout.step_at).total_seconds(), 0.0
    elapsed = max((found.watermark - found.first_event).total_seconds(), 0.0)
    return elapsed, elapsed


def _against(scope: Scope, held: Deployment) -> str:
    return "" if held.canary is None else held_back(scope, held, held.canary)


def _active(scope: Scope, deployment: str) -> r.Rollout:
    return RolloutStore(scope.connection, scope.project).active(deployment)


def _switched(scope: Scope, deployment: str, before: str, after: r.RolloutState, reason: str) -> r.Rollout:
    store = RolloutStore(scope.connection, scope.project)
    rollout = store.active(deployment, held=True)
    if rollout.state != before:
        raise Conflict(
            f"The rollout of {deployment!r} is {rollout.state}, not {before}.",
            code="serving.rollout_state",
            hint=f"rung rollout status {deployment} shows it.",
        )
    held = ServingStore(scope.connection, scope.project).get(deployment)
    share = next((x.share for x in held.routes if x.arm == "canary"), rollout.share)
    step = max((i for i, s in enumerate(rollout.plan.steps) if s <= share), default=0)
    changed = replaced(rollout, state=after, reason=reason, share=share, step=step, looked_rows=0, changed_at=scope.now)
    store.save(changed)
    return changed


def _ended(scope: Scope, rollout: r.Rollout) -> None:
    emit(
        scope,
        r.RolloutEnded(
            deployment=rollout.deployment, rollout=rollout.id, state=rollout.state, model=rollout.model, number=rollout.number, reason=rollout.reason
        ),
    )  # fmt: skip
