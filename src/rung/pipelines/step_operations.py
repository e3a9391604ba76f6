"""Handler of steps that another scheduler asks for."""

from __future__ import annotations

from rung.core.errors import Conflict
from rung.core.requests import handles
from rung.pipelines.owners import is_dead
from rung.pipelines.records import Cause, PipelineRun, RunPipeline
from rung.pipelines.starting import hold, start
from rung.pipelines.stepping import RunStep
from rung.pipelines.store import PipelineStore
from rung.storage.queue import QueueStore
from rung.storage.scope import Scope

_ENDED = {"succeeded", "cached", "skipped"}


@handles(RunStep)
def run_step(request: RunStep, scope: Scope) -> PipelineRun:
    """The run, its step queued unless it has ended. Raises NotFound; Conflict for a key whose run has other parameters."""
    store, queue = PipelineStore(scope.connection, scope.project), QueueStore(scope.connection)
    payload, key = {"only": [request.step]}, f"{request.pipeline}/{request.key}"[:250]
    job = queue.by_dedup_key(scope.project, key)
    if job is None:
        reason = f"{request.scheduler or 'Another scheduler'} asked for it as {request.key}."
        wish = RunPipeline(
            pipeline=request.pipeline, params=request.params, seed=request.seed, cause=Cause(reason=reason), dedup=key, held=request.held
        )
        return start(scope, wish, payload=payload)
    run = store.run(job.subject)
    if sorted(run.params) != sorted(request.params):
        raise Conflict(
            f"The run of {request.key!r} has the parameters {', '.join(run.params) or 'none'}.",
            code="pipelines.other_run", hint="Ask for every step of a run with the same parameters.",
        )  # fmt: skip
    step = next((held for held in store.steps(run.id) if held.key == request.step), None)
    tried = request.attempts is not None and step is not None and step.attempts > request.attempts
    abandoned = job.state == "leased" and is_dead(job.owner or "")
    if (job.state in {"done", "failed", "cancelled"} or abandoned) and not tried and (step is None or step.status not in _ENDED):
        if not queue.requeue(job.id, attempts=0, payload=payload, seen=job):
            return store.run(run.id)  # somebody else has asked for it just now
        store.update_run(run.id, status="queued", error="", failed_step="", cancel_requested=False, ended_at=None)
        if step is not None:
            store.update_step(step.id, status="waiting", error="", ended_at=None)
        hold(scope, job.id, request.held)
    return store.run(run.id)
