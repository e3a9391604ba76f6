"""Handlers of triggers: adding, changing, listing. What happens when one is called is in ``calling``; calling it is the engine's."""

from __future__ import annotations

import secrets
from datetime import timedelta

from rung.core.errors import AlreadyExists, Invalid
from rung.core.ids import new_id
from rung.core.records import Page, replaced
from rung.core.requests import handles
from rung.pipelines import triggering as t
from rung.pipelines.scheduling import due_at, fire_times, zone_of
from rung.pipelines.trigger_checking import first_times, sound
from rung.pipelines.trigger_family import TRIGGERS, options_of
from rung.pipelines.trigger_store import Hook, TriggerStore
from rung.storage.raw import Raw
from rung.storage.scope import Scope

_DECLARED = (
    "pipeline",
    "kind",
    "subject",
    "options",
    "params",
    "take",
    "guards",
    "priority",
    "package",
    "environment",
    "executor",
    "paused",
)
_CHANGED = tuple(name for name in _DECLARED if name not in {"kind", "paused"})
_SHORTEST_SECRET = 16


@handles(t.AddTrigger)
def add_trigger(request: t.AddTrigger, scope: Scope) -> t.Trigger:
    """The new trigger, with its secret when it is called over HTTP. Raises AlreadyExists, NotFound, Invalid for what cannot work."""
    store = _store(scope)
    held = store.find_trigger(request.name)
    if held and not request.replace:
        raise AlreadyExists(
            f"Trigger {request.name!r} exists.",
            code="pipelines.trigger_exists",
            hint="`rung trigger edit` changes it in place; or choose another name.",
        )
    return _written(scope, request, held, source="")


@handles(t.UpdateTrigger)
def update_trigger(request: t.UpdateTrigger, scope: Scope) -> t.Trigger:
    """The trigger, changed. Raises NotFound, Invalid. What was called before keeps its answer."""
    Raw(scope.connection).take_turn("trigger", scope.project, request.name)
    held = _store(scope).trigger(request.name)
    _refuse_declared(held, "edited")
    changes = {name: value for name in _CHANGED if (value := getattr(request, name)) is not None}
    return _changed(scope, held, replaced(held, **changes))


@handles(t.GetTrigger)
def get_trigger(request: t.GetTrigger, scope: Scope) -> t.Trigger:
    """A trigger by name. Raises NotFound."""
    return _store(scope).trigger(request.name)


@handles(t.ListTriggers)
def list_triggers(request: t.ListTriggers, scope: Scope) -> tuple[t.Trigger, ...]:
    """Triggers by name."""
    return _store(scope).triggers(request.kind, request.pipeline)


@handles(t.RemoveTrigger)
def remove_trigger(request: t.RemoveTrigger, scope: Scope) -> t.Trigger:
    """The trigger that was. Raises NotFound."""
    store = _store(scope)
    trigger = store.trigger(request.name)
    _refuse_declared(trigger, "removed")
    _gone(scope, trigger)
    return trigger


@handles(t.PauseTriggers)
def pause_triggers(request: t.PauseTriggers, scope: Scope) -> tuple[t.Trigger, ...]:
    """The triggers paused or resumed. A resumed schedule starts anew: what it missed while paused stays missed."""
    store = _store(scope)
    chosen = (store.trigger(request.name),) if request.name else store.triggers()
    for trigger in chosen:
        times = {} if request.paused else dict(zip(("next_fire", "due_at"), first_times(trigger, scope.now), strict=True))
        store.update_trigger(trigger.id, paused=request.paused, **times)
    return tuple(store.trigger(trigger.name) for trigger in chosen)


@handles(t.RotateTriggerSecret)
def rotate_secret(request: t.RotateTriggerSecret, scope: Scope) -> t.Trigger:
    """The trigger with its new secret, told this once. Raises NotFound, Invalid for one that is not called over HTTP."""
    store = _store(scope)
    trigger = store.trigger(request.name)
    held = store.find_hook(trigger.id)
    if held is None:
        raise Invalid(
            f"Trigger {trigger.name!r} is of kind {trigger.kind!r}, which is not called over HTTP.",
            code="pipelines.no_hook",
            hint="Only webhook and push triggers have a secret.",
        )
    secret = _secret(request.secret)
    until = scope.now + timedelta(seconds=request.grace_s) if request.grace_s else None
    store.save_hook(
        Hook(
            trigger=trigger.id,
            project=scope.project,
            hook=held.hook,
            secret=secret,
            previous=held.secret if until else "",
            previous_until=until,
        )
    )
    return replaced(trigger, secret=secret)


@handles(t.SyncTriggers)
def sync_triggers(request: t.SyncTriggers, scope: Scope) -> tuple[t.Trigger, ...]:
    """The triggers of the source, as they are now. Raises AlreadyExists for a name that somebody added by hand."""
    store = _store(scope)
    held = {trigger.name: trigger for trigger in store.triggers(source=request.source)}
    wanted = {declared.name: declared for declared in request.triggers}
    for name, trigger in held.items():
        if name not in wanted:
            _gone(scope, trigger)
    for name, declared in wanted.items():
        foreign = store.find_trigger(name) if name not in held else None
        if foreign is not None:
            raise AlreadyExists(
                f"Trigger {name!r} is declared in {request.source}, but exists from {foreign.source or 'the command line'}.",
                code="pipelines.trigger_exists",
                hint="Remove one of the two, or give it another name.",
            )
        _written(scope, declared, held.get(name), source=request.source)
    return store.triggers(source=request.source)


@handles(t.ListTriggerFires)
def list_trigger_fires(request: t.ListTriggerFires, scope: Scope) -> tuple[t.TriggerFire, ...]:
    """Calls upon triggers, newest first; those of a removed one too. Raises NotFound for a name that never was."""
    store = _store(scope)
    found = store.fires(request.name, request.limit, request.outcome, request.after)
    if request.name and not found:
        store.trigger(request.name)
    return found


@handles(t.GetTriggerFire)
def get_trigger_fire(request: t.GetTriggerFire, scope: Scope) -> t.TriggerFire:
    """One call upon a trigger. Raises NotFound."""
    return _store(scope).fire(request.id)


@handles(t.NextFires)
def next_fires(request: t.NextFires, scope: Scope) -> Page[t.UpcomingFire]:
    """The times at which schedules will call. Raises NotFound."""
    store = _store(scope)
    chosen = (store.trigger(request.name),) if request.name else store.triggers("schedule")
    found = [
        item for trigger in chosen if trigger.kind == "schedule" and not trigger.paused for item in _upcoming(trigger, request.count, scope)
    ]
    return Page(items=tuple(sorted(found, key=lambda item: item.due_at)[: request.count]))


def _upcoming(trigger: t.Trigger, count: int, scope: Scope) -> list[t.UpcomingFire]:
    options = options_of(trigger.kind, trigger.options)
    found: list[t.UpcomingFire] = []
    for at in fire_times(options.cron, options.zone, scope.now):
        if len(found) == count:
            break
        found.append(
            t.UpcomingFire(
                trigger=trigger.name, pipeline=trigger.pipeline, fire_time=at, due_at=due_at(trigger.id, at, options.jitter_s),
                local_time=at.astimezone(zone_of(options.zone)).isoformat(timespec="minutes"),
            )
        )  # fmt: skip
    return found


def _written(scope: Scope, request: t.AddTrigger, held: t.Trigger | None, *, source: t.TriggerSource) -> t.Trigger:
    declared = {name: getattr(request, name) for name in _DECLARED}
    if held is not None and held.kind == request.kind:
        paused = request.paused or (bool(source) and held.paused)  # a declared trigger that somebody paused stays so
        return _changed(scope, held, replaced(held, **{**declared, "source": source, "paused": paused}), given=request.secret)
    if held is not None:
        _gone(scope, held)
    trigger = t.Trigger(
        id=new_id(), name=request.name, created_at=scope.now, created_by=scope.who, source=source, **declared,
    )  # fmt: skip
    warnings = sound(scope, trigger)
    following, due = first_times(trigger, scope.now)
    trigger = replaced(trigger, warnings=warnings, next_fire=following)
    store = _store(scope)
    store.add_trigger(trigger, due)
    if not TRIGGERS.get(trigger.kind).over_http:
        return trigger
    secret, hook = _secret(request.secret), new_id()[-16:] + secrets.token_hex(16)
    store.save_hook(Hook(trigger=trigger.id, project=scope.project, hook=hook, secret=secret))
    return replaced(trigger, hook=f"/hooks/{hook}", secret=secret)


def _changed(scope: Scope, held: t.Trigger, wanted: t.Trigger, *, given: str | None = None) -> t.Trigger:
    store = _store(scope)
    same = all(getattr(held, name) == getattr(wanted, name) for name in (*_DECLARED, "source"))
    warnings = sound(scope, wanted)
    if not same:
        changes = {name: getattr(wanted, name) for name in (*_DECLARED, "source")}
        if held.options != wanted.options or (held.paused and not wanted.paused):
            changes |= dict(zip(("next_fire", "due_at"), first_times(wanted, scope.now), strict=True))
        store.update_trigger(held.id, updated_at=scope.now, warnings=warnings, **changes)
    if given is not None and (hook := store.find_hook(held.id)):
        store.save_hook(replaced(hook, secret=_secret(given), previous="", previous_until=None))
    return store.trigger(held.name)


def _gone(scope: Scope, trigger: t.Trigger) -> None:
    store = _store(scope)
    for fire in store.fires(trigger.name, 1000, "waiting"):
        store.save_fire(replaced(fire, outcome="held_back", reason="Its trigger was removed.", settled_at=scope.now, due_at=None))
    store.remove_trigger(trigger.id)


def _secret(given: str | None) -> str:
    if given is None or given == "":
        return secrets.token_urlsafe(32)
    if len(given) < _SHORTEST_SECRET:
        raise Invalid(
            f"A secret of {len(given)} characters can be guessed.",
            code="pipelines.weak_secret",
            hint=f"Give at least {_SHORTEST_SECRET}, or none, to be given one.",
        )
    return given


def _refuse_declared(trigger: t.Trigger, verb: str) -> None:
    if trigger.source:
        raise Invalid(
            f"Trigger {trigger.name!r} is declared in {trigger.source} and cannot be {verb} here.",
            code="pipelines.declared_trigger",
            hint=f"Change it in {trigger.source}; `rung trigger pause` works at once.",
        )


def _store(scope: Scope) -> TriggerStore:
    return TriggerStore(scope.connection, scope.project)
