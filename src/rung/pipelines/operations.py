"""Handlers of pipelines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rung.core.errors import Conflict
from rung.core.records import Page
from rung.core.requests import handles
from rung.pipelines import cache_operations, checkpoint_operations
from rung.pipelines import records as r
from rung.pipelines.owners import is_dead
from rung.pipelines.starting import QUEUE, finished, hold, start
from rung.pipelines.store import PipelineStore
from rung.storage.outbox import emit
from rung.storage.queue import QueueStore
from rung.storage.scope import Scope

__all__ = [
    "QUEUE",
    "abandon",
    "cache_operations",
    "checkpoint_operations",
    "finished",
    "log_path",
    "start",
]
LATER = (
    "package_operations", "reproduction_operations", "step_operations", "summary_operations", "testing.operations", "trigger_operations",
)  # fmt: skip


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
    if queue.is_leased(job) and not is_dead(job.owner or ""):
        raise Conflict(
            f"Pipeline run {run.id} is being executed by {job.owner}.",
            code="pipelines.being_executed",
            hint="Wait, or `rung pipeline cancel` it.",
        )
    if not queue.requeue(job.id, attempts=0, seen=job):
        raise Conflict(
            f"Pipeline run {run.id} was resumed by somebody else just now.", code="pipelines.being_executed", hint="Wait for it."
        )
    store.update_run(run.id, status="queued", error="", failed_step="", cancel_requested=False, ended_at=None, resumed=run.resumed + 1)
    hold(scope, job.id, request.held)
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


@handles(r.ListStepItems)
def list_step_items(request: r.ListStepItems, scope: Scope) -> tuple[r.StepItem, ...]:
    """Ended items of a map, by position. Raises NotFound."""
    store = _store(scope)
    step = store.step(request.pipeline_run, request.step)
    return store.items(step.id, status=request.status, after=request.after, limit=request.limit)


@handles(r.CancelPipelineRun)
def cancel(request: r.CancelPipelineRun, scope: Scope) -> r.PipelineRun:
    """The run; a queued one is cancelled now, a running one by its worker. Raises Conflict for one that has ended."""
    store, queue = _store(scope), QueueStore(scope.connection)
    run = store.run(request.id)
    held = queue.ask_to_cancel(run.id, now=scope.now)
    run = store.run(run.id)  # looked at again, now that nobody ends it: it may have ended just before
    if run.status not in {"queued", "running"}:
        raise Conflict(
            f"Pipeline run {run.id} has {run.status} already.",
            code="pipelines.ended",
            hint="Only queued and running ones can be cancelled.",
        )
    store.update_run(run.id, cancel_requested=True)
    if not held:
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
        part, size = data[request.offset : request.offset + request.limit_bytes], len(data)
    else:
        part, size = _read(log_path(scope.home, request.pipeline_run, step.key, attempt.number), request.offset, request.limit_bytes)
    if request.offset + len(part) < size or attempt.status == "running":
        part = part[: len(part) - _begun(part)]
    following = request.offset + len(part)
    return r.LogChunk(
        text=part.decode("utf-8", "replace"), offset=request.offset, next_offset=following,
        finished=attempt.status != "running" and following >= size, attempt=attempt.number, size_bytes=size,
    )  # fmt: skip


def _read(file: Path, offset: int, limit: int) -> tuple[bytes, int]:
    """Part of a file that may not be there yet, and how long it is."""
    try:
        with file.open("rb") as opened:
            opened.seek(offset)
            return opened.read(limit), os.fstat(opened.fileno()).st_size
    except FileNotFoundError:  # or not any more: the whole log is a blob by now
        return b"", 0


def _begun(part: bytes) -> int:
    """How many bytes at the end are the beginning of a character that has more; none when nothing else is there."""
    for back in range(1, min(4, len(part))):
        byte = part[-back]
        if byte >= 0xC0:  # noqa: PLR2004 - the first byte of a character of several, as UTF-8 has it
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4  # noqa: PLR2004
            return back if back < wanted and back < len(part) else 0
        if byte < 0x80:  # noqa: PLR2004 - a character of one byte
            return 0
    return 0


def log_path(home: Path, run: str, key: str, attempt: int) -> Path:
    """Where a running step writes its log."""
    return home / "logs" / run / f"{key}.{attempt}.log"


def abandon(scope: Scope, runs: Sequence[str], why: str) -> None:
    """Fail runs whose job was given up."""
    store = _store(scope)
    for run in runs:
        store.update_run(run, status="failed", error=why, ended_at=scope.now)
        emit(scope, finished(store.run(run)))


def _store(scope: Scope) -> PipelineStore:
    return PipelineStore(scope.connection, scope.project)
