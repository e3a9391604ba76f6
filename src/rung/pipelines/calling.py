"""What happens when triggers are called: which of them listen, what their guard rails say, and the run that starts.

A call is looked up by trigger and cause under a unique key, so however often an event is delivered, it is answered once.
Only a cause that did not meet the condition, or that waits, is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import to_builtins

from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.ids import new_id
from rung.core.records import Id, replaced
from rung.governance.lineage import link, node
from rung.pipelines import records as r
from rung.pipelines import triggering as t
from rung.pipelines.guarding import Answer, Case, answer, checks, period_end, period_start
from rung.pipelines.scheduling import due_at, fire_times, missed
from rung.pipelines.starting import params_taken, start
from rung.pipelines.trigger_family import TRIGGERS, Past, facts_of, met, not_met, options_of
from rung.pipelines.trigger_store import TriggerStore
from rung.pipelines.triggers.schedule import Options as ScheduleOptions
from rung.storage.scope import Scope

_AGAIN = {"not_met", "waiting"}
_BY_HAND = "by hand"


@dataclass(frozen=True)
class Call:
    """One call upon one trigger. ``refused`` says why it is answered without being weighed; ``by_hand`` skips the condition."""

    trigger: t.Trigger
    signal: t.Signal
    params: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    by_hand: bool = False
    dry: bool = False
    called_by: str = ""
    approved_by: str = ""

    def as_of(self, now: datetime) -> datetime:
        """The instant of the cause, in the time of the data."""
        return self.signal.as_of or now


Known = Mapping[tuple[Id, str], t.Figures]


def heard(scope: Scope, signal: t.Signal, *, name: str | None = None) -> list[Call]:
    """A call for every trigger that listens to a signal and has not answered its cause for good."""
    store = TriggerStore(scope.connection, scope.project)
    chosen = (store.trigger(name),) if name else store.triggers(signal.kind)
    return [
        Call(trigger=trigger, signal=signal, called_by=scope.who)
        for trigger in chosen
        if trigger.kind == signal.kind and trigger.subject in {"*", signal.subject}
    ]


def planned(scope: Scope, trigger: t.Trigger, *, settle: bool = False) -> list[Call]:
    """Calls of a schedule whose times have come, by its catch-up rule; with ``settle`` its next time is moved on and what was let go is noted."""
    store = TriggerStore(scope.connection, scope.project)
    options: ScheduleOptions = options_of(trigger.kind, trigger.options)
    if trigger.paused or trigger.next_fire is None or due_at(trigger.id, trigger.next_fire, options.jitter_s) > scope.now:
        return []
    found = missed(options.cron, options.zone, trigger.next_fire, scope.now, options.catch_up, jitter_s=options.jitter_s)
    ready = [at for at in found.kept if due_at(trigger.id, at, options.jitter_s) <= scope.now]
    following = min([at for at in found.kept if at not in ready], default=found.following)
    if settle:
        store.update_trigger(trigger.id, next_fire=following, due_at=due_at(trigger.id, following, options.jitter_s))
        if found.let_go and found.first is not None:
            _note_let_go(scope, store, trigger, found.first, found.let_go, more=found.more)
    times = [_before(options, at) for at in ready]
    return [
        Call(
            trigger=trigger, called_by=scope.who,
            signal=t.Signal(
                kind="schedule", subject="*", cause=told(at), as_of=at,
                facts={"fire_time": told(at), "start": told(before), "end": told(at), "as_of": told(at)},
            ),
        )
        for before, at in zip(times, ready, strict=True)
    ]  # fmt: skip


def answered(scope: Scope, calls: Iterable[Call], known: Known) -> tuple[t.TriggerFire, ...]:
    """Answer calls in the scope's transaction; one that was answered for good is given back as it was."""
    store = TriggerStore(scope.connection, scope.project)
    found = []
    for call in calls:
        held = store.find_fire(call.trigger.id, call.signal.cause)
        if held is not None and held.outcome not in _AGAIN:
            found.append(held)
            continue
        store.lock(call.trigger.pipeline)
        trigger = store.trigger_by_id(call.trigger.id)
        held = store.find_fire(call.trigger.id, call.signal.cause)
        if trigger is None or (held is not None and held.outcome not in _AGAIN):
            found += [held] if held else []
            continue
        figures = known.get((trigger.id, call.signal.cause), t.Figures())
        found.append(_settled(scope, store, replaced_trigger(call, trigger), held, figures))
    return tuple(found)


def replaced_trigger(call: Call, trigger: t.Trigger) -> Call:
    """The call upon the trigger as it is now."""
    return Call(
        trigger=trigger, signal=call.signal, params=call.params, refused=call.refused, by_hand=call.by_hand, dry=call.dry,
        called_by=call.called_by, approved_by=call.approved_by,
    )  # fmt: skip


def waiting_calls(scope: Scope, *, pipeline: str | None = None) -> list[Call]:
    """The calls that wait and are due, or all that wait for a pipeline, to be looked at again; time has gone on for them too."""
    store = TriggerStore(scope.connection, scope.project)
    return [
        called_again(trigger, fire, scope.now)
        for fire in store.waiting(pipeline=pipeline, due=None if pipeline else scope.now)
        if (trigger := store.trigger_by_id(fire.trigger)) is not None
    ]


def called_again(trigger: t.Trigger, fire: t.TriggerFire, now: datetime, *, approved_by: str = "") -> Call:
    """A call that was recorded, once more."""
    signal = t.Signal(
        kind=fire.kind, subject="*", cause=fire.cause, facts=fire.facts, as_of=fire.as_of + max(now - fire.at, timedelta()),
    )  # fmt: skip
    by_hand = fire.cause.startswith(_BY_HAND)
    return Call(
        trigger=trigger, signal=signal, params=fire.params if by_hand or trigger.kind == "webhook" else {}, by_hand=by_hand, called_by=fire.called_by,
        approved_by=approved_by or fire.approved_by,
    )  # fmt: skip


def weighed(scope: Scope, store: TriggerStore, call: Call, held: t.TriggerFire | None, figures: t.Figures) -> t.TriggerFire:
    """The answer to a call, not kept and nothing started."""
    trigger, signal, as_of = call.trigger, call.signal, call.as_of(scope.now)
    condition, facts = _condition(store, call)
    case = _case(scope, store, call, as_of, figures)
    found = (condition, *checks(trigger, case)) if condition.passed else (condition,)
    waited = held is not None and held.outcome == "waiting"
    asked_at = held.at if held is not None and waited else scope.now
    why = signal.reason or condition.statement
    given = answer(trigger, found, why, case, asked_at=asked_at, dry=call.dry)
    if call.refused:
        given = Answer(outcome="not_met", reason=call.refused[:1000])
    params: dict[str, Any] = {}
    if given.outcome != "not_met":
        params = params_of(trigger, _params_known(scope, trigger), facts, call.params)
    settled = given.outcome not in _AGAIN
    return t.TriggerFire(
        id=held.id if held else new_id(), trigger=trigger.id, trigger_name=trigger.name, kind=trigger.kind, pipeline=trigger.pipeline,
        cause=signal.cause, outcome=given.outcome, reason=given.reason, checks=found, facts=signal.facts, params=params,
        would=given.would, as_of=held.as_of if held is not None and waited and given.outcome == "waiting" else as_of, at=asked_at,
        settled_at=scope.now if settled else None, due_at=given.due_at, give_up_at=given.give_up_at, called_by=call.called_by,
        approved_by=call.approved_by,
    )  # fmt: skip


def params_of(trigger: t.Trigger, known: set[str], facts: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of the run: facts by name, then those of the trigger, then those it takes from facts, then those of the call."""
    taken = {name: value for name, path in trigger.take.items() if (value := fact(facts, path)) is not None}
    handed = TRIGGERS.get(trigger.kind).by_name
    by_name = {name: value for name, value in facts.items() if name in handed and name in known and value is not None}
    return {**by_name, **trigger.params, **taken, **given}


def fact(facts: Mapping[str, Any], path: str) -> Any:
    """The fact at a dotted path; None when there is none."""
    held: Any = facts
    for part in path.split("."):
        if not isinstance(held, Mapping) or part not in held:
            return None
        held = held[part]
    return held


def told(at: datetime) -> str:
    """An instant as facts and causes hold it: ISO 8601 in UTC, to the second."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def cause_by_hand(word: str | None) -> str:
    """The cause of a call by hand: the given word, or one that is like no other."""
    return f"{_BY_HAND} {word or new_id()}"[:250]


def _settled(scope: Scope, store: TriggerStore, call: Call, held: t.TriggerFire | None, figures: t.Figures) -> t.TriggerFire:
    fire = weighed(scope, store, call, held, figures)
    if fire.outcome == "fired":
        fire = _started(scope, store, call, fire)
    store.save_fire(fire)
    return fire


def _started(scope: Scope, store: TriggerStore, call: Call, fire: t.TriggerFire) -> t.TriggerFire:
    trigger = call.trigger
    subject = str(fire.facts.get("decision") or fire.cause)
    wish = r.RunPipeline(
        pipeline=trigger.pipeline, params=fire.params, priority=trigger.priority, package=trigger.package,
        environment=trigger.environment, executor=trigger.executor, dedup=f"{trigger.id} {fire.cause}"[:250],
        cause=r.Cause(kind="manual" if call.by_hand else trigger.kind, trigger=trigger.id, subject=subject[:1000], reason=fire.reason),
    )  # fmt: skip
    try:
        run = start(scope, wish)
    except (Invalid, NotFound, Conflict) as error:
        why = f"The run cannot be started: {error}"[:1000]
        failed = t.TriggerCheck(guard="start", passed=False, statement=why)
        return replaced(fire, outcome="held_back", reason=why, checks=(*fire.checks, failed))
    store.update_trigger(trigger.id, last_fired_at=scope.now)
    for kind in ("incident", "diagnosis"):
        if fire.facts.get(kind):
            link(scope, node(kind, str(fire.facts[kind])), "started", node("pipeline_run", run.id))
    return replaced(fire, pipeline_run=run.id)


def _condition(store: TriggerStore, call: Call) -> tuple[t.TriggerCheck, dict[str, Any]]:
    trigger, plain = call.trigger, call.signal.facts
    if call.by_hand:
        return met(call.signal.reason or f"{call.called_by or 'Somebody'} called it by hand."), plain
    try:
        facts, options = facts_of(trigger.kind, plain), options_of(trigger.kind, trigger.options)
        whole: dict[str, Any] = {**to_builtins(facts), **plain}
        return TRIGGERS.get(trigger.kind).condition(options, facts, _past(store, call)), whole
    except (Invalid, NotFound) as error:
        return not_met(f"The cause cannot be read: {error}"), plain


def _past(store: TriggerStore, call: Call) -> Past[Any]:
    if not TRIGGERS.get(call.trigger.kind).looks_back:
        return Past()
    started = store.last_started(call.trigger.id)
    since = [fire for fire in store.since(call.trigger.id, started) if fire.facts and not fire.cause.startswith(_BY_HAND)]
    read = [facts_of(fire.kind, fire.facts) for fire in since if fire.kind == call.trigger.kind and fire.cause != call.signal.cause]
    first = facts_of(started.kind, started.facts) if started and started.facts and not started.cause.startswith(_BY_HAND) else None
    return Past(started=first, since=tuple(read))


def _case(scope: Scope, store: TriggerStore, call: Call, as_of: datetime, figures: t.Figures) -> Case:
    trigger, guards = call.trigger, call.trigger.guards
    start_at = period_start(guards.most_period, guards.zone, as_of)
    end_at = period_end(guards.most_period, guards.zone, as_of)
    active = store.active_runs(trigger.pipeline) if guards.concurrency != "allow" else ()
    return Case(
        as_of=as_of, now=scope.now, last_started=store.nearest_started(trigger.id, as_of) if guards.cooldown_s else None,
        started=store.count_started(trigger.id, start_at, end_at) if guards.most else 0,
        active=active, figures=figures, approved_by=call.approved_by,
    )  # fmt: skip


def _params_known(scope: Scope, trigger: t.Trigger) -> set[str]:
    try:
        return set(params_taken(scope, r.RunPipeline(pipeline=trigger.pipeline, package=trigger.package)))
    except NotFound:
        return set()  # told when the run cannot be started


def _note_let_go(scope: Scope, store: TriggerStore, trigger: t.Trigger, first: datetime, count: int, *, more: bool) -> None:
    options: ScheduleOptions = options_of(trigger.kind, trigger.options)
    cause = f"missed {told(first)}"
    if store.find_fire(trigger.id, cause):
        return
    number = f"{'more than ' if more else ''}{count}"
    reason = f"{number} fire times from {told(first)} on passed while nothing ran; catch_up is {options.catch_up}."
    store.save_fire(
        t.TriggerFire(
            id=new_id(), trigger=trigger.id, trigger_name=trigger.name, kind=trigger.kind, pipeline=trigger.pipeline, cause=cause,
            outcome="held_back", reason=reason, as_of=first, at=scope.now, settled_at=scope.now, called_by=scope.who,
            checks=(t.TriggerCheck(guard="catch_up", passed=False, statement=reason, value=float(count)),),
        )
    )  # fmt: skip


def _before(options: ScheduleOptions, at: datetime) -> datetime:
    return next(fire_times(options.cron, options.zone, at, backwards=True))
