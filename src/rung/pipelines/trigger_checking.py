"""What a trigger must fulfil before it is kept: everything that can be known to be wrong is said when it is written."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rung.core.errors import Invalid, NotFound
from rung.data.store import DataStore
from rung.pipelines import triggering as t
from rung.pipelines.guarding import wants_labels
from rung.pipelines.quiet import spans
from rung.pipelines.records import ParamSpec, RunPipeline
from rung.pipelines.scheduling import due_at, next_fire, zone_of
from rung.pipelines.starting import params_taken
from rung.pipelines.store import PipelineStore
from rung.pipelines.trigger_family import TRIGGERS, options_of
from rung.pipelines.trigger_store import TriggerStore
from rung.storage.scope import Scope


def sound(scope: Scope, trigger: t.Trigger) -> tuple[str, ...]:
    """What is odd about a trigger, but may be meant. Raises Invalid, NotFound for what cannot work."""
    member = TRIGGERS.get(trigger.kind)
    options = options_of(trigger.kind, trigger.options)
    if member.about and not trigger.subject:
        raise _bad(f"Trigger {trigger.name!r} listens to nothing.", f"Name a {member.about}, or * for any.")
    member.checked(trigger.subject, trigger.pipeline, options)
    zone_of(trigger.guards.zone)
    spans(trigger.guards.quiet)
    _refuse_circle(scope, trigger)
    known = _known(scope, trigger)
    _params_fit(trigger, known, member.facts.__struct_fields__, member.by_name)
    return (*_labels(trigger, member.about), *_odd(scope, trigger, member.about))


def first_times(trigger: t.Trigger, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The next fire time of a schedule, and when it is acted upon; nothing for other kinds. Raises Invalid."""
    if trigger.kind != "schedule":
        return None, None
    options: Any = options_of(trigger.kind, trigger.options)
    following = next_fire(options.cron, options.zone, now)
    return following, due_at(trigger.id, following, options.jitter_s)


def _known(scope: Scope, trigger: t.Trigger) -> dict[str, ParamSpec]:
    try:
        return params_taken(scope, RunPipeline(pipeline=trigger.pipeline, package=trigger.package))
    except NotFound as error:
        if trigger.package:
            raise
        names = ", ".join(info.name for info in PipelineStore(scope.connection, scope.project).definitions())
        raise NotFound(error.message, code="pipelines.no_pipeline", hint=f"The project has: {names or 'none'}.") from None


def _params_fit(trigger: t.Trigger, known: dict[str, ParamSpec], facts: tuple[str, ...], by_name: tuple[str, ...]) -> None:
    for name in (*trigger.params, *trigger.take):
        if name not in known:
            raise Invalid(
                f"Pipeline {trigger.pipeline!r} has no parameter {name!r}.",
                code="pipelines.unknown_param",
                hint=f"It has: {', '.join(known) or 'none'}.",
            )
    for name, path in trigger.take.items():
        if path.partition(".")[0] not in facts:
            raise _bad(
                f"A cause of kind {trigger.kind!r} brings no {path!r} for parameter {name!r}.",
                f"It brings: {', '.join(facts) or 'nothing'}.",
            )
    accepted = trigger.options.get("accept", ())
    filled = {*trigger.params, *trigger.take, *by_name, *accepted}
    if strange := [name for name in accepted if name not in known]:
        raise _bad(f"Pipeline {trigger.pipeline!r} has no parameter {strange[0]!r} to accept.", f"It has: {', '.join(known) or 'none'}.")
    missing = [name for name, spec in known.items() if spec.required and name not in filled]
    if missing:
        raise Invalid(
            f"Pipeline {trigger.pipeline!r} needs a value for {', '.join(missing)}.",
            code="pipelines.missing_param",
            hint=f"Give -p {missing[0]}=…, or --take {missing[0]}=FACT of {', '.join(facts) or 'none'}.",
        )
    for name, value in trigger.params.items():
        _fits(trigger.pipeline, known[name], value)


def _fits(pipeline: str, spec: ParamSpec, value: object) -> None:
    kinds: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
    kind = kinds.get(spec.type)
    if kind is None:
        return
    wrong = isinstance(value, bool) and kind is not bool
    if not isinstance(value, str) or kind is str:
        wrong = wrong or not isinstance(value, (int, float) if kind is float else kind)
    else:
        try:
            kind(value)
        except ValueError:
            wrong = True
    if wrong:
        raise Invalid(
            f"Parameter {spec.name!r} of pipeline {pipeline!r} is {value!r}, which is no {spec.type}.",
            code="pipelines.bad_param",
            hint=f"Give {spec.name} as {spec.type}.",
        )


def _labels(trigger: t.Trigger, about: str) -> tuple[str, ...]:
    guards = trigger.guards
    if wants_labels(guards) and not guards.label_deployment and about != "deployment":
        raise _bad(f"Trigger {trigger.name!r} waits for labels, but of which deployment?", "Give label_deployment.")
    if guards.dry:
        return ("It is a dry run: it records what it would do, and starts nothing.",)
    return ()


def _odd(scope: Scope, trigger: t.Trigger, about: str) -> tuple[str, ...]:
    found = []
    if about == "dataset" and trigger.subject != "*" and not _has_dataset(scope, trigger.subject):
        found.append(f"There is no dataset {trigger.subject!r} yet.")
    if about == "pipeline" and not _has_pipeline(scope, trigger.subject):
        found.append(f"There is no pipeline {trigger.subject!r} yet.")
    if trigger.kind == "drift":
        found.append("Drift alone says nothing about what a retraining would gain; a decision trigger asks the retraining policy first.")
    if trigger.kind == "schedule":
        guards = trigger.guards
        times = [following := next_fire(trigger.options["cron"], trigger.options.get("zone", "UTC"), scope.now)]
        times.append(next_fire(trigger.options["cron"], trigger.options.get("zone", "UTC"), following))
        if guards.cooldown_s > (times[1] - times[0]).total_seconds():
            found.append(f"The schedule comes every {(times[1] - times[0])}, sooner than its cool-down of {guards.cooldown_s:g} s is over.")
    return tuple(found)


def _has_dataset(scope: Scope, name: str) -> bool:
    try:
        DataStore(scope.connection, scope.project).version(name, None)
    except NotFound:
        return False
    return True


def _has_pipeline(scope: Scope, name: str) -> bool:
    return any(info.name == name for info in PipelineStore(scope.connection, scope.project).definitions())


def _refuse_circle(scope: Scope, trigger: t.Trigger) -> None:
    if trigger.kind != "after":
        return
    others = TriggerStore(scope.connection, scope.project).triggers("after")
    follows: dict[str, set[str]] = {}
    for held in (*(other for other in others if other.name != trigger.name), trigger):
        follows.setdefault(held.subject, set()).add(held.pipeline)
    way, waiting = [trigger.pipeline], list(follows.get(trigger.pipeline, ()))
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name == trigger.pipeline:
            raise Invalid(
                f"Trigger {trigger.name!r} closes a circle: {' -> '.join([*way, *sorted(seen), name])}.",
                code="pipelines.trigger_circle",
                hint="Let the last pipeline of the chain start nothing.",
            )
        if name not in seen:
            seen.add(name)
            waiting += follows.get(name, ())


def _bad(message: str, hint: str) -> Invalid:
    return Invalid(message, code="pipelines.bad_trigger", hint=hint)
