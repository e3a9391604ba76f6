"""A/B tests and bandits: begun and ended by hand, looked at whenever labels come."""

from __future__ import annotations

from collections.abc import Callable

from rung.core.errors import Conflict
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.core.requests import handles
from rung.serving import ab_records as r
from rung.serving.ab_rules import check_reward
from rung.serving.assigning import laid_out
from rung.serving.live import note_change
from rung.serving.rechecking import held_back, recheck
from rung.serving.records import Deployment, PromotionHeld, Revision, RoutingState
from rung.serving.revising import check_override, cleared, drafted, saved, version_of
from rung.serving.rollout_store import RolloutStore
from rung.serving.routing import ROUTING
from rung.serving.routing.family import ranges_of
from rung.serving.rules import kept_arm, with_arms
from rung.serving.store import ServingStore, required
from rung.storage.outbox import emit
from rung.storage.scope import Scope


@handles(r.StartAb)
def start_ab(request: r.StartAb, scope: Scope) -> r.AbTest:
    """The test, begun with a revision of its own. Raises NotFound, Conflict, Invalid, Denied."""
    check_reward(request.reward, request.values)
    ROUTING.get(request.policy).checked(request.settings)
    held = ServingStore(scope.connection, scope.project).get(request.deployment)
    for wish in request.arms:
        cleared(scope, version_of(scope, wish.model, wish.number), held.environment, request.override_reason)
    identity = new_id()
    routing = replaced(held.options.routing, policy=request.policy, settings=request.settings, salt=identity)
    routing = routing if request.sticky is None else replaced(routing, sticky=request.sticky)
    routes = with_arms(held.routes, [(wish.model, wish.number, wish.share) for wish in request.arms])
    draft = drafted(held, routes, "ab", request.reason, options=replaced(held.options, routing=routing), override=request.override_reason)
    revision = saved(scope, draft)
    arms = tuple(r.AbArm(arm=x.arm, model=x.model, number=x.number, share=x.share) for x in revision.routes if x.arm != "shadow")
    test = r.AbTest(
        id=identity, deployment=held.name, arms=arms, policy=request.policy, reward=request.reward, values=request.values,
        threshold=request.threshold, alpha=request.alpha, planned_rows=request.planned_rows, state="running",
        first_revision=revision.number, revision=revision.number, reason=request.reason, started_at=scope.now,
        started_by=revision.created_by, changed_at=scope.now,
    )  # fmt: skip
    RolloutStore(scope.connection, scope.project).save_test(test)
    emit(scope, r.AbStarted(deployment=held.name, test=identity))
    return test


@handles(r.LookAtAb)
def look_at_ab(request: r.LookAtAb, scope: Scope) -> Callable[[Scope], r.AbTest]:
    """The test with its newest look; the same labels a second time change nothing. Raises NotFound, Conflict, Invalid."""
    from rung.serving.ab_looks import look_at  # noqa: PLC0415 - Polars, which `rung up` must not wait for
    from rung.serving.answering import settle  # noqa: PLC0415 - the same

    settle()
    held, test, state = scope.read(lambda s: _running(s, request.deployment))
    routes, routing = tuple(x for x in held.routes if x.arm != "shadow"), held.options.routing
    found = look_at(scope, test, routes, routing, revision=held.revision, labels=request.labels)
    if found is None:
        return lambda _: test
    look, earned, shares = found

    def save(inside: Scope) -> r.AbTest:
        store = RolloutStore(inside.connection, inside.project)
        now = store.test(held.name, held=True)
        if now.id != test.id or now.state != "running" or _newest(now) != _newest(test):
            return now  # ended, or looked at, meanwhile
        after = replaced(now, latest=look, changed_at=inside.now)
        learns = ROUTING.get(test.policy).learns
        against = _against(inside, held, shares, state) if learns else ""
        if against and against != now.reason:
            after = replaced(after, reason=against)
        store.save_test(after)
        store.add_look(look)
        if learns and not against:
            before = {arm: tuple(spans) for arm, spans in ranges_of(routes, state).items()}
            learned = RoutingState(
                deployment=held.name, revision=test.first_revision, salt=test.id, as_of=inside.now, ranges=laid_out(shares, before), shares=shares,
                rewards=tuple(earned.values()),
            )  # fmt: skip
            store.save_state(new_id(), learned)
            note_change()
        if look.better is not None and (test.latest is None or test.latest.better is None):
            emit(inside, r.AbConcluded(deployment=held.name, test=test.id, better=look.better, conclusion=look.conclusion))
        return after

    return save


@handles(r.StopAb)
def stop_ab(request: r.StopAb, scope: Scope) -> Revision:
    """The revision in which one arm serves alone. Raises NotFound, Conflict."""
    held, test, _ = _running(scope, request.deployment, changing=True)
    routes = kept_arm(held.routes, request.keep)
    if request.override_reason:
        check_override(scope)
    if request.keep != "stable":
        recheck(scope, held, routes[0], request.override_reason)
    routing = replaced(held.options.routing, policy="split", settings={})
    reason = request.reason or f"A/B test over: {request.keep} stays"
    draft = drafted(held, routes, "ab", reason, options=replaced(held.options, routing=routing), override=request.override_reason)
    RolloutStore(scope.connection, scope.project).save_test(replaced(test, state="stopped", reason=reason, changed_at=scope.now))
    return saved(scope, draft)


@handles(r.GetAb)
def get_ab(request: r.GetAb, scope: Scope) -> r.AbTest:
    """The newest test. Raises NotFound."""
    ServingStore(scope.connection, scope.project).get(request.deployment)
    return RolloutStore(scope.connection, scope.project).test(request.deployment)


@handles(r.ListAb)
def list_ab(request: r.ListAb, scope: Scope) -> tuple[r.AbTest, ...]:
    """Tests, newest first. Raises NotFound for a deployment that is not there."""
    required(scope, request.deployment)
    return RolloutStore(scope.connection, scope.project).tests(request.deployment, active=request.active)


@handles(r.ListAbLooks)
def list_ab_looks(request: r.ListAbLooks, scope: Scope) -> tuple[r.AbLook, ...]:
    """Looks at the newest test, newest first. Raises NotFound."""
    store = RolloutStore(scope.connection, scope.project)
    return store.looks(request.deployment, store.test(request.deployment).id)


def _against(scope: Scope, held: Deployment, shares: dict[str, float], state: RoutingState | None) -> str:
    """Why shares stay as they are: an arm would get more of the traffic than what is said of its version lets it."""
    now = {x.arm: x.share for x in held.routes} if state is None else state.shares
    for route in held.routes:
        if route.arm.startswith("arm-") and shares.get(route.arm, 0.0) > now.get(route.arm, 0.0):
            against = held_back(scope, held, route)
            if against:
                emit(scope, PromotionHeld(deployment=held.name, model=route.model, number=route.number, reason=against))
                return f"Held: {against}"
    return ""


def _newest(test: r.AbTest) -> str | None:
    return test.latest.id if test.latest else None


def _running(scope: Scope, deployment: str, *, changing: bool = False) -> tuple[Deployment, r.AbTest, RoutingState | None]:
    store = ServingStore(scope.connection, scope.project)
    held, test = store.get(deployment), RolloutStore(scope.connection, scope.project).test(deployment, held=changing)
    if test.state != "running":
        raise Conflict(f"The A/B test of {deployment!r} is {test.state}.", code="serving.ab_ended", hint="Start another: rung ab start.")
    state = store.routing_states().get(deployment)
    return held, test, state if state is not None and state.salt == test.id else None
