"""Handlers of pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec

from rung.core.errors import AlreadyExists, Conflict, Invalid
from rung.core.ids import new_id
from rung.core.records import Page
from rung.core.requests import handles
from rung.data.records import DatasetRef
from rung.data.store import DataStore
from rung.governance.lineage import link, node
from rung.governance.store import GovernanceStore
from rung.pipelines import records as r
from rung.pipelines.owners import is_dead
from rung.pipelines.rules import answers, held_back, missed_fires, next_fire
from rung.pipelines.store import PipelineStore
from rung.storage.outbox import emit
from rung.storage.queue import QueueStore
from rung.storage.scope import Scope

QUEUE = "pipelines"
MOST_WORKERS_LOST = 5
_NUMBERS: dict[str, type] = {"int": int, "float": float, "bool": bool}


@handles(r.RegisterPipelines)
def register(request: r.RegisterPipelines, scope: Scope) -> tuple[r.PipelineInfo, ...]:
    """All pipelines now known."""
    store = _store(scope)
    for info in request.pipelines:
        store.define(info)
    return store.definitions()


@handles(r.ListPipelines)
def list_pipelines(request: r.ListPipelines, scope: Scope) -> tuple[r.PipelineInfo, ...]:
    """Known pipelines by name."""
    return _store(scope).definitions()


@handles(r.GetPipeline)
def get_pipeline(request: r.GetPipeline, scope: Scope) -> r.PipelineInfo:
    """A pipeline by name. Raises NotFound."""
    return _store(scope).definition(request.pipeline)


@handles(r.RunPipeline)
def run_pipeline(request: r.RunPipeline, scope: Scope) -> r.PipelineRun:
    """The queued run. Raises NotFound for an unknown pipeline, Invalid for parameters that it does not have."""
    return start(scope, request)


@handles(r.ResumePipelineRun)
def resume(request: r.ResumePipelineRun, scope: Scope) -> r.PipelineRun:
    """The run, queued again. Raises NotFound; Conflict for one that succeeded or is being executed."""
    store, queue = _store(scope), QueueStore(scope.connection)
    run, job = store.run(request.id), queue.of_subject(request.id)
    if run.status == "succeeded":
        raise Conflict(f"Pipeline run {run.id} has succeeded already.", code="pipelines.nothing_to_resume", hint="Start a new run.")
    if job is None:
        raise Conflict(f"Pipeline run {run.id} has no job any more.", code="pipelines.nothing_to_resume", hint="Start a new run.")
    if job.state == "leased" and job.lease_until is not None and job.lease_until >= scope.now and not is_dead(job.owner or ""):
        raise Conflict(
            f"Pipeline run {run.id} is being executed by {job.owner}.",
            code="pipelines.being_executed",
            hint="Wait, or `rung pipeline cancel` it.",
        )
    queue.requeue(job.id, now=scope.now, attempts=0)
    store.update_run(run.id, status="queued", error="", failed_step="", cancel_requested=False, ended_at=None, resumed=run.resumed + 1)
    _hold(scope, job.id, request.held)
    return store.run(run.id)


@handles(r.GetPipelineRun)
def get_run(request: r.GetPipelineRun, scope: Scope) -> r.PipelineRunDetail:
    """A run with steps and attempts. Raises NotFound."""
    store = _store(scope)
    run = store.run(request.id)
    return r.PipelineRunDetail(run=run, steps=store.steps(run.id), attempts=store.attempts(run.id))


@handles(r.ListPipelineRuns)
def list_runs(request: r.ListPipelineRuns, scope: Scope) -> Page[r.PipelineRun]:
    """One page of runs, newest first."""
    runs = _store(scope).runs(pipeline=request.pipeline, status=request.status, after=request.after, limit=request.limit)
    return Page(items=tuple(runs), next=runs[-1].id if len(runs) == request.limit else None)


@handles(r.CancelPipelineRun)
def cancel(request: r.CancelPipelineRun, scope: Scope) -> r.PipelineRun:
    """The run; a queued one is cancelled now, a running one by its worker. Raises Conflict for one that has ended."""
    store, queue = _store(scope), QueueStore(scope.connection)
    run = store.run(request.id)
    if run.status not in {"queued", "running"}:
        raise Conflict(
            f"Pipeline run {run.id} has {run.status} already.",
            code="pipelines.ended",
            hint="Only queued and running ones can be cancelled.",
        )
    job = queue.of_subject(run.id)
    queue.ask_to_cancel(run.id, now=scope.now)
    store.update_run(run.id, cancel_requested=True)
    if job is None or job.state != "leased":
        store.update_run(run.id, status="cancelled", ended_at=scope.now)
        ended = store.run(run.id)
        emit(scope, finished(ended))
    return store.run(run.id)


@handles(r.StepLog)
def step_log(request: r.StepLog, scope: Scope) -> r.LogChunk:
    """Part of a step's log. Raises NotFound."""
    store = _store(scope)
    step = store.step(request.pipeline_run, request.step)
    attempts = [a for a in store.attempts(request.pipeline_run) if a.step_run == step.id and request.attempt in {None, a.number}]
    if not attempts:
        return r.LogChunk(text="", offset=0, next_offset=0, finished=step.status not in {"waiting", "running"}, attempt=0)
    attempt = attempts[-1]
    if attempt.log:
        data = scope.blobs.get(attempt.log)
    else:
        file = log_path(scope.home, request.pipeline_run, step.key, attempt.number)
        data = file.read_bytes() if file.is_file() else b""
    part = data[request.offset : request.offset + request.limit_bytes]
    following = request.offset + len(part)
    return r.LogChunk(
        text=part.decode("utf-8", "replace"), offset=request.offset, next_offset=following,
        finished=attempt.status != "running" and following >= len(data), attempt=attempt.number,
    )  # fmt: skip


@handles(r.AddTrigger)
def add_trigger(request: r.AddTrigger, scope: Scope) -> r.Trigger:
    """The new trigger. Raises AlreadyExists, Invalid for a schedule that cannot be read."""
    store = _store(scope)
    if store.find_trigger(request.name):
        raise AlreadyExists(
            f"Trigger {request.name!r} exists.", code="pipelines.trigger_exists", hint="Remove it first, or choose another name."
        )
    if (request.kind == "schedule") != bool(request.cron):
        raise Invalid(
            "A trigger has a cron expression exactly when its kind is schedule.",
            code="pipelines.bad_trigger",
            hint="Give cron, or choose another kind.",
        )
    trigger = r.Trigger(
        id=new_id(), name=request.name, pipeline=request.pipeline, kind=request.kind, params=request.params, cooldown_s=request.cooldown_s,
        paused=False, created_at=scope.now, created_by=_caller(scope), subject=request.subject, cron=request.cron, zone=request.zone,
        catch_up=request.catch_up, next_fire=next_fire(request.cron, request.zone, scope.now) if request.cron else None,
    )  # fmt: skip
    store.add_trigger(trigger)
    return trigger


@handles(r.ListTriggers)
def list_triggers(request: r.ListTriggers, scope: Scope) -> tuple[r.Trigger, ...]:
    """Triggers by name."""
    return _store(scope).triggers(request.kind)


@handles(r.RemoveTrigger)
def remove_trigger(request: r.RemoveTrigger, scope: Scope) -> r.Trigger:
    """The trigger that was. Raises NotFound."""
    store = _store(scope)
    trigger = store.trigger(request.name)
    store.remove_trigger(trigger.id)
    return trigger


@handles(r.PauseTriggers)
def pause_triggers(request: r.PauseTriggers, scope: Scope) -> tuple[r.Trigger, ...]:
    """The triggers paused or resumed. A resumed schedule starts anew: what it missed while paused stays missed."""
    store = _store(scope)
    chosen = (store.trigger(request.name),) if request.name else store.triggers()
    for trigger in chosen:
        store.update_trigger(trigger.id, paused=request.paused)
        if not request.paused and trigger.cron:
            store.update_trigger(trigger.id, next_fire=next_fire(trigger.cron, trigger.zone, scope.now))
    return tuple(store.trigger(trigger.name) for trigger in chosen)


@handles(r.FireTriggers)
def fire_triggers(request: r.FireTriggers, scope: Scope) -> tuple[r.TriggerFire, ...]:
    """What each trigger of that kind and subject answered to the cause; the same cause is answered once."""
    store = _store(scope)
    chosen = (store.trigger(request.name),) if request.name else store.triggers(request.kind)
    if request.kind == "schedule":
        return tuple(fire for trigger in chosen for fire in _fire_schedule(scope, store, trigger))
    return tuple(
        _fire(scope, store, trigger, request.cause, request.reason, {**trigger.params, **request.params})
        for trigger in chosen
        if trigger.kind == request.kind and answers(trigger, request.subject)
    )


@handles(r.ListTriggerFires)
def list_trigger_fires(request: r.ListTriggerFires, scope: Scope) -> tuple[r.TriggerFire, ...]:
    """When triggers were called upon, newest first. Raises NotFound for an unknown name."""
    store = _store(scope)
    return store.fires(store.trigger(request.name).id if request.name else None, request.limit)


@handles(r.Reproduce)
def reproduce(request: r.Reproduce, scope: Scope) -> r.PipelineRun:
    """The queued re-execution. Raises Conflict for a run that did not succeed or has no code snapshot."""
    original = _store(scope).run(request.id)
    if original.status != "succeeded":
        raise Conflict(
            f"Pipeline run {original.id} has {original.status}; only a succeeded one can be reproduced.",
            code="pipelines.not_reproducible",
            hint="Choose a run that succeeded.",
        )
    if not original.code:
        raise Conflict(
            f"Pipeline run {original.id} has no snapshot of its code.",
            code="pipelines.no_code",
            hint="Run pipelines from a project folder.",
        )
    wish = r.RunPipeline(
        pipeline=original.pipeline, params=original.params, seed=original.seed, use_cache=False, held=request.held,
        cause=r.Cause(kind="reproduction", subject=original.id, reason=f"Is run {original.pipeline}:{original.number} repeatable?"),
    )  # fmt: skip
    return start(scope, wish, reproduces=original.id, tolerance=request.tolerance)


@handles(r.ListReproductions)
def list_reproductions(request: r.ListReproductions, scope: Scope) -> tuple[r.Reproduction, ...]:
    """Reproductions, newest first."""
    return _store(scope).reproductions(request.pipeline_run, request.limit)


def start(scope: Scope, request: r.RunPipeline, *, reproduces: str | None = None, tolerance: float = 0.0) -> r.PipelineRun:
    """Queue a run in the scope's transaction."""
    store, queue = _store(scope), QueueStore(scope.connection)
    if request.dedup and (held := queue.by_dedup_key(scope.project, request.dedup)):
        return store.run(held.subject)
    info = store.definition(request.pipeline)
    known = {spec.name: spec for spec in info.params}
    if reproduces is None and (strange := sorted(set(request.params) - set(known))):
        raise Invalid(
            f"Pipeline {request.pipeline!r} has no parameter {strange[0]!r}.",
            code="pipelines.unknown_param",
            hint=f"It has: {', '.join(known) or 'none'}.",
        )
    if missing := [name for name, spec in known.items() if spec.required and name not in request.params and reproduces is None]:
        raise Invalid(
            f"Pipeline {request.pipeline!r} needs a value for {', '.join(missing)}.",
            code="pipelines.missing_param",
            hint=f"Pass -p {missing[0]}=….",
        )
    params = {
        name: _pinned(scope, known.get(name), _typed(request.pipeline, known.get(name), value)) for name, value in request.params.items()
    }
    run = r.PipelineRun(
        id=new_id(),
        number=store.next_number(request.pipeline),
        pipeline=request.pipeline,
        status="queued",
        params=params,
        cause=request.cause,
        seed=request.seed,
        use_cache=request.use_cache,
        created_at=scope.now,
        created_by=_caller(scope),
        reproduces=reproduces,
    )
    store.add_run(run)
    job = queue.add(
        scope.project, queue=QUEUE, kind="pipeline_run", subject=run.id, now=scope.now, priority=request.priority, dedup_key=request.dedup,
        payload={"tolerance": tolerance}, max_attempts=MOST_WORKERS_LOST,
    )  # fmt: skip
    _hold(scope, job.id, request.held)
    link(scope, node("principal", run.created_by), "started", node("pipeline_run", run.id))
    for name, value in params.items():
        if _takes_dataset(known.get(name)):
            link(scope, node("dataset_version", str(value)), "input_of", node("pipeline_run", run.id))
    if request.cause.kind == "decision" and request.cause.subject:
        link(scope, node("decision", request.cause.subject), "started", node("pipeline_run", run.id))
    return run


def finished(run: r.PipelineRun) -> r.PipelineRunFinished:
    """The event of a run that has ended."""
    return r.PipelineRunFinished(
        pipeline=run.pipeline, pipeline_run=run.id, status=run.status, cause=run.cause, cpu_s=run.cpu_s, wall_s=run.wall_s,
        ended_at=run.ended_at or run.created_at, run_id=run.run_id, error=run.error[:1000],
    )  # fmt: skip


def log_path(home: Path, run: str, key: str, attempt: int) -> Path:
    """Where a running step writes its log."""
    return home / "logs" / run / f"{key}.{attempt}.log"


def _fire_schedule(scope: Scope, store: PipelineStore, trigger: r.Trigger) -> list[r.TriggerFire]:
    if trigger.paused or trigger.next_fire is None or trigger.next_fire > scope.now:
        return []
    due, following = missed_fires(trigger, scope.now)
    store.update_trigger(trigger.id, next_fire=following)
    return [
        _fire(
            scope,
            store,
            trigger,
            f"{at.isoformat(timespec='seconds')}",
            f"Its time came: {trigger.cron} in {trigger.zone}.",
            trigger.params,
        )
        for at in due
    ]


def _fire(scope: Scope, store: PipelineStore, trigger: r.Trigger, cause: str, reason: str, params: r.Params) -> r.TriggerFire:
    if held := store.find_fire(trigger.id, cause[:250]):
        return held
    refusal = held_back(store.trigger(trigger.name), scope.now)
    run: r.PipelineRun | None = None
    if not refusal:
        known = {spec.name for spec in store.definition(trigger.pipeline).params}
        wish = r.RunPipeline(
            pipeline=trigger.pipeline, params={name: value for name, value in params.items() if name in known or name in trigger.params},
            cause=r.Cause(kind=trigger.kind, trigger=trigger.id, subject=cause[:1000], reason=reason), dedup=f"{trigger.id} {cause}"[:250],
        )  # fmt: skip
        run = start(scope, wish)
        store.update_trigger(trigger.id, last_fired_at=scope.now)
    fire = r.TriggerFire(
        id=new_id(),
        trigger=trigger.id,
        cause=cause[:250],
        outcome="held_back" if refusal else "fired",
        reason=refusal or reason,
        at=scope.now,
        pipeline_run=run.id if run else None,
    )
    store.add_fire(fire)
    return fire


def _typed(pipeline: str, spec: r.ParamSpec | None, value: object) -> object:
    """Text from a command line as the number or boolean that the parameter is. Raises Invalid."""
    if spec is None or not isinstance(value, str) or spec.type not in _NUMBERS:
        return value
    try:
        return msgspec.convert(value, _NUMBERS[spec.type], strict=False)
    except msgspec.ValidationError:
        raise Invalid(
            f"Parameter {spec.name!r} of pipeline {pipeline!r} is {value!r}, which is no {spec.type}.",
            code="pipelines.bad_param",
            hint=f"Pass -p {spec.name}=…, as {spec.type}.",
        ) from None


def _takes_dataset(spec: r.ParamSpec | None) -> bool:
    return spec is not None and spec.type == DatasetRef.__name__


def _pinned(scope: Scope, spec: r.ParamSpec | None, value: object) -> object:
    """A dataset's name as its newest version at this instant, ``name:number``, so that the run's inputs are fixed. Raises NotFound."""
    if not _takes_dataset(spec):
        return value
    name, number = (value.get("dataset"), value.get("number")) if isinstance(value, dict) else (str(value).partition(":")[::2])
    wanted = int(number) if number and str(number).isdigit() else None
    found = DataStore(scope.connection, scope.project).version(str(name), wanted)
    return f"{found.dataset}:{found.number}"


def _hold(scope: Scope, job: str, owner: str | None) -> None:
    if owner:
        QueueStore(scope.connection).claim(
            QUEUE, owner=owner, now=scope.now, lease=timedelta(seconds=scope.settings.engine.lease_s), job=job
        )


def _store(scope: Scope) -> PipelineStore:
    return PipelineStore(scope.connection, scope.project)


def _caller(scope: Scope) -> str:
    principal = GovernanceStore(scope.connection).find_principal(scope.principal)
    return principal.name if principal else scope.principal


def abandon(scope: Scope, runs: Sequence[str], why: str) -> None:
    """Fail runs whose job was given up."""
    store = _store(scope)
    for run in runs:
        store.update_run(run, status="failed", error=why, ended_at=scope.now)
        emit(scope, finished(store.run(run)))
