"""Handlers that call upon triggers: figures are gathered first, outside any transaction; the answer and the run share one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.records import Empty, replaced
from rung.core.requests import handles
from rung.engine import records as e
from rung.engine.figures import figures_of, gathered
from rung.pipelines import triggering as t
from rung.pipelines.calling import Call, answered, called_again, cause_by_hand, heard, planned, waiting_calls, weighed
from rung.pipelines.hooks import LARGEST_BODY, LARGEST_KEPT, payload, push_cause, push_facts, verified
from rung.pipelines.scheduling import due_at, strayed
from rung.pipelines.trigger_family import TRIGGERS, options_of
from rung.pipelines.trigger_store import TriggerStore, hook_named
from rung.storage.scope import Scope

Fires = tuple[t.TriggerFire, ...]


@handles(e.CallTriggers)
def call_triggers(request: e.CallTriggers, scope: Scope) -> Callable[[Scope], Fires]:
    """What each trigger answered. Raises NotFound for an unknown name."""
    signal = _plain(request.signal)
    calls = scope.read(lambda inside: heard(inside, signal, name=request.name))
    known = gathered(scope, calls)
    return lambda inside: answered(inside, calls, known)


@handles(e.FireTrigger)
def fire_trigger(request: e.FireTrigger, scope: Scope) -> Callable[[Scope], t.TriggerFire]:
    """What the trigger answered. Raises NotFound."""
    call = scope.read(lambda inside: _by_hand(inside, request))
    known = gathered(scope, [call])
    return lambda inside: answered(inside, [call], known)[0]


@handles(e.TestTrigger)
def test_trigger(request: e.TestTrigger, scope: Scope) -> t.TriggerFire:
    """What the trigger would answer. Raises NotFound."""
    store = _store(scope)
    trigger = store.trigger(request.name)
    wish = e.FireTrigger(name=request.name, facts=request.facts, params=request.params, as_of=request.as_of)
    call = _by_hand(scope, wish)
    if request.facts:
        call = Call(trigger=trigger, signal=call.signal, params=call.params, called_by=call.called_by)
    else:
        assumed = replaced(call.signal, reason="The condition is taken as met, since no facts were given.")
        call = Call(trigger=trigger, signal=assumed, params=call.params, called_by=call.called_by, by_hand=True)
    fire = weighed(scope, store, call, None, figures_of(scope, call))
    return replaced(fire, cause="test", would=fire.outcome if not fire.would else fire.would, settled_at=None)


@handles(e.CallSchedule)
def call_schedule(request: e.CallSchedule, scope: Scope) -> Callable[[Scope], Fires]:
    """What the schedule did about the times that have come. Raises NotFound."""
    calls = scope.read(lambda inside: planned(inside, _store(inside).trigger(request.name)))
    known = gathered(scope, calls)

    def save(inside: Scope) -> Fires:
        store = _store(inside)
        held = store.trigger(request.name)
        store.lock(held.pipeline)
        return answered(inside, planned(inside, store.trigger(request.name), settle=True), known)

    return save


@handles(e.ReconsiderFires)
def reconsider_fires(request: e.ReconsiderFires, scope: Scope) -> Callable[[Scope], Fires]:
    """The newer answers to calls that waited."""
    calls = scope.read(lambda inside: waiting_calls(inside, pipeline=request.pipeline))
    known = gathered(scope, calls)
    return lambda inside: answered(inside, calls, known)


@handles(e.SettleFire)
def settle_fire(request: e.SettleFire, scope: Scope) -> Callable[[Scope], t.TriggerFire]:
    """The call, started or refused. Raises NotFound; Conflict for one that does not wait."""
    fire = scope.read(lambda inside: _waiting(inside, request.id))
    if not request.approve:
        return lambda inside: _refused(inside, request)

    def again(inside: Scope) -> Call:
        trigger = _store(inside).trigger_by_id(fire.trigger)
        if trigger is None:
            raise NotFound(f"Trigger {fire.trigger_name!r} has gone.", code="pipelines.no_trigger", hint="Start the pipeline by hand.")
        return called_again(trigger, fire, inside.now, approved_by=inside.who)

    call = scope.read(again)
    known = gathered(scope, [call])
    return lambda inside: answered(inside, [call], known)[0]


@handles(e.ReceiveHook)
def receive_hook(request: e.ReceiveHook, scope: Scope) -> Callable[[Scope], e.HookAnswer]:
    """What was decided. Raises NotFound for an unknown address, Denied for a message that is not signed, Invalid for garbage."""
    hook = scope.read(lambda inside: hook_named(inside.connection, request.hook))
    trigger = scope.read(lambda inside: _store(inside).trigger_by_id(hook.trigger)) if hook and hook.project == scope.project else None
    if hook is None or trigger is None:
        raise NotFound("There is no such address.", code="pipelines.no_hook", hint="`rung trigger show` tells a trigger's address.")
    forge = trigger.kind == "push"
    if len(request.body) > (LARGEST_BODY if forge else LARGEST_KEPT):
        raise Invalid(f"The body has {len(request.body)} bytes.", code="request.too_large", hint=f"Send at most {LARGEST_KEPT >> 10} KiB.")
    signed = verified(request.headers, request.body, hook.secrets(scope.now), scope.now, forge=forge)
    call = _called(trigger, payload(request.body, request.headers), request.headers, signed.scheme, signed.nonce)
    known = gathered(scope, [call])

    def save(inside: Scope) -> e.HookAnswer:
        fire = answered(inside, [call], known)[0]
        return e.HookAnswer(
            fire=fire.id, trigger=fire.trigger_name, outcome=fire.outcome, reason=fire.reason, pipeline_run=fire.pipeline_run
        )  # fmt: skip

    return save


@handles(e.HealSchedules)
def heal_schedules(request: e.HealSchedules, scope: Scope) -> Empty:
    """Nothing; schedules whose next time lies beyond the right one are due at the right one again."""
    store = _store(scope)
    for trigger in store.triggers("schedule"):
        options = options_of(trigger.kind, trigger.options)
        right = strayed(options.cron, options.zone, trigger.next_fire, scope.now) if trigger.next_fire and not trigger.paused else None
        if right is not None:
            store.update_trigger(trigger.id, next_fire=right, due_at=due_at(trigger.id, right, options.jitter_s))
    return Empty()


def _called(trigger: t.Trigger, plain: dict[str, Any], headers: dict[str, str], scheme: str, nonce: str) -> Call:
    if TRIGGERS.get(trigger.kind).about == "repository":
        facts, refused = push_facts(plain, headers)
        elsewhere = not refused and trigger.subject not in {"*", facts["repository"]}
        told = f"The push went to {facts['repository']}; {trigger.subject} is what counts." if elsewhere else refused
        cause = push_cause(facts) if not refused else f"{scheme} {nonce}"
        return Call(trigger=trigger, signal=t.Signal(kind="push", subject="*", cause=cause, facts=facts), refused=told, called_by=scheme)
    accepted = options_of(trigger.kind, trigger.options).accept
    given = plain.get("params") if isinstance(plain.get("params"), dict) else {}
    strange = sorted(set(given or {}) - set(accepted))
    refused = f"The sender may not set {', '.join(strange)[:500]}; accepted are: {', '.join(accepted) or 'none'}." if strange else ""
    word = plain.get("cause")
    cause = f"webhook {word}"[:250] if isinstance(word, str) and word.strip("\x00") and "\x00" not in word else f"{scheme} {nonce}"
    params = {name: value for name, value in (given or {}).items() if name in accepted}
    signal = t.Signal(kind=trigger.kind, subject="*", cause=cause, facts={"body": plain, "signed_as": scheme})
    return Call(trigger=trigger, signal=signal, params=params, refused=refused, called_by=scheme)


def _by_hand(scope: Scope, request: e.FireTrigger) -> Call:
    trigger = _store(scope).trigger(request.name)
    who = scope.who
    facts = msgspec.to_builtins(request.facts)
    signal = t.Signal(
        kind=trigger.kind, subject="*", cause=cause_by_hand(request.cause), facts=facts or ({"caller": who} if trigger.kind == "manual" else {}),
        as_of=request.as_of,
    )  # fmt: skip
    return Call(trigger=trigger, signal=signal, params=request.params, by_hand=True, dry=request.dry, called_by=who)


def _waiting(scope: Scope, fire: str) -> t.TriggerFire:
    held = _store(scope).fire(fire)
    if held.outcome != "waiting":
        raise Conflict(
            f"The call {held.cause!r} upon {held.trigger_name} does not wait: it is {held.outcome.replace('_', ' ')}.",
            code="pipelines.not_waiting",
            hint="`rung trigger history` shows what waits.",
        )
    return held


def _refused(scope: Scope, request: e.SettleFire) -> t.TriggerFire:
    _store(scope).lock(_store(scope).fire(request.id).pipeline)  # somebody may approve it at the same time
    held = _waiting(scope, request.id)
    reason = f"{scope.who} has refused it{': ' + request.note if request.note else '.'}"[:1000]
    fire = replaced(held, outcome="held_back", reason=reason, settled_at=scope.now, due_at=None)
    _store(scope).save_fire(fire)
    return fire


def _plain(signal: t.Signal) -> t.Signal:
    return replaced(signal, facts=msgspec.to_builtins(signal.facts))


def _store(scope: Scope) -> TriggerStore:
    return TriggerStore(scope.connection, scope.project)
