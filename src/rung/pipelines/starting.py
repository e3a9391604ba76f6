"""How a pipeline run comes to be queued: checks of its parameters, the row, the job and the first edges of lineage."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from rung.core.errors import Invalid, NotFound
from rung.core.ids import new_id
from rung.data.records import DatasetRef
from rung.data.store import DataStore
from rung.governance.lineage import link, node
from rung.pipelines import records as r
from rung.pipelines.parameters import refuse_outside
from rung.pipelines.store import PipelineStore
from rung.storage.queue import QueueStore
from rung.storage.raw import Raw
from rung.storage.scope import Scope

QUEUE = "pipelines"
MOST_WORKERS_LOST = 200  # in a row, without a step that ended in between
_NUMBERS: dict[str, type] = {"int": int, "float": float, "bool": bool}


def start(scope: Scope, request: r.RunPipeline, *, reproduces: str | None = None, payload: dict[str, Any] | None = None) -> r.PipelineRun:
    """Queue a run in the scope's transaction."""
    store, queue = _store(scope), QueueStore(scope.connection)
    if request.dedup and (held := queue.by_dedup_key(scope.project, request.dedup)):
        return store.run(held.subject)
    known = params_taken(scope, request)
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
    _check_rerun(store, request)
    info = None if request.package else store.definition(request.pipeline)
    Raw(scope.connection).take_turn("pipeline_run number", scope.project, request.pipeline)
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
        created_by=scope.who,
        reproduces=reproduces,
        package=request.package,
        environment=request.environment or scope.settings.environment,
        executor=request.executor,
        priority=request.priority or (info.priority if info else 0),
        concurrency_group=request.concurrency_group or (info.concurrency_group if info else ""),
        concurrency_limit=request.concurrency_limit if request.concurrency_group or not info else info.concurrency_limit,
        audited=request.audit,
        rerun_of=request.rerun_of,
        rerun_from=request.rerun_from,
    )
    store.add_run(run)
    job = queue.add(
        scope.project, queue=QUEUE, kind="pipeline_run", subject=run.id, now=scope.now, priority=run.priority, dedup_key=request.dedup,
        payload=(payload or {}) | ({"within": request.within} if request.within else {}), max_attempts=MOST_WORKERS_LOST, concurrency_group=run.concurrency_group,
        concurrency_limit=run.concurrency_limit,
    )  # fmt: skip
    hold(scope, job.id, request.held)
    link(scope, node("principal", run.created_by), "started", node("pipeline_run", run.id))
    for name, value in params.items():
        if _takes_dataset(known.get(name)):
            link(scope, node("dataset_version", str(value)), "input_of", node("pipeline_run", run.id))
    if request.cause.kind == "decision" and request.cause.subject:
        link(scope, node("decision", request.cause.subject), "started", node("pipeline_run", run.id))
    return run


def _check_rerun(store: PipelineStore, request: r.RunPipeline) -> None:
    """Raise Invalid for steps to run again from that the earlier run does not have, NotFound without such a run."""
    if request.rerun_of is None:
        if request.rerun_from:
            raise Invalid("rerun_from needs rerun_of.", code="pipelines.bad_rerun", hint="Say of which run the other results are taken.")
        return
    earlier = store.run(request.rerun_of)
    if earlier.pipeline != request.pipeline:
        raise Invalid(
            f"Run {earlier.pipeline}:{earlier.number} is one of pipeline {earlier.pipeline!r}, not of {request.pipeline!r}.",
            code="pipelines.bad_rerun", hint="Run the same pipeline again.",
        )  # fmt: skip
    keys = [spec.key for spec in earlier.steps]
    for key in request.rerun_from:
        if key not in keys:
            raise Invalid(
                f"Run {earlier.pipeline}:{earlier.number} has no step {key!r}.",
                code="pipelines.no_step", hint=f"It has: {', '.join(keys[:30]) or 'none'}.",
            )  # fmt: skip


def params_taken(scope: Scope, request: r.RunPipeline) -> dict[str, r.ParamSpec]:
    """What a pipeline takes: as packaged where a package is run, else as last registered. Raises NotFound."""
    if not request.package:
        return {spec.name: spec for spec in _store(scope).definition(request.pipeline).params}
    from rung.pipelines.package_store import PackageStore  # noqa: PLC0415 - for packages alone

    packages = PackageStore(scope.connection, scope.project)
    content = packages.content(request.package)
    found = next((pipeline for pipeline in content.pipelines if pipeline.name == request.pipeline), None)
    if found is None:
        raise NotFound(
            f"Package {request.package[7:19]} has no pipeline {request.pipeline!r}.",
            code="pipelines.not_packaged",
            hint=f"It has: {', '.join(pipeline.name for pipeline in content.pipelines)}.",
        )
    return {spec.name: spec for spec in found.params}


def finished(run: r.PipelineRun) -> r.PipelineRunFinished:
    """The event of a run that has ended."""
    return r.PipelineRunFinished(
        pipeline=run.pipeline, pipeline_run=run.id, status=run.status, cause=run.cause, cpu_s=run.cpu_s, wall_s=run.wall_s,
        ended_at=run.ended_at or run.created_at, run_id=run.run_id, error=run.error[:1000],
    )  # fmt: skip


def _typed(pipeline: str, spec: r.ParamSpec | None, value: object) -> object:
    """Text from a command line as the number or boolean that the parameter is, within its bounds. Raises Invalid."""
    if spec is None:
        return value
    try:
        if isinstance(value, str) and spec.type in _NUMBERS:
            value = msgspec.convert(value, _NUMBERS[spec.type], strict=False)
        words = bool(spec.choices) and all(isinstance(choice, str) for choice in spec.choices)
        if words or not isinstance(value, str):  # any other text is made what it is by the worker
            refuse_outside(pipeline, spec, value)
        return value
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


def hold(scope: Scope, job: str, owner: str | None) -> None:
    if owner:
        QueueStore(scope.connection).claim(QUEUE, owner=owner, lease=timedelta(seconds=scope.settings.engine.lease_s), job=job)


def _store(scope: Scope) -> PipelineStore:
    return PipelineStore(scope.connection, scope.project)
