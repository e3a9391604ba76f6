"""Handlers of checkpoints."""

from __future__ import annotations

from rung.core.errors import Conflict
from rung.core.requests import handles
from rung.pipelines import checkpointing as c
from rung.pipelines.checkpoint_store import CheckpointStore
from rung.pipelines.store import PipelineStore
from rung.storage.raw import Raw
from rung.storage.scope import Scope


@handles(c.SaveCheckpoint)
def save_checkpoint(request: c.SaveCheckpoint, scope: Scope) -> c.Checkpoint:
    """The checkpoint. Raises NotFound for an unknown step; Conflict when its run has ended or a later attempt saved one."""
    Raw(scope.connection).take_turn("checkpoint", request.pipeline_run, request.step, str(request.seed))
    run = PipelineStore(scope.connection, scope.project).run(request.pipeline_run)
    store = CheckpointStore(scope.connection, scope.project)
    held = store.find(run.id, request.step, request.seed)
    if run.status not in {"queued", "running"} or (held is not None and held.attempt > request.attempt):
        why = (
            f"the run has {run.status}"
            if run.status not in {"queued", "running"}
            else f"attempt {held.attempt if held else 0} has saved one"
        )
        raise Conflict(
            f"Attempt {request.attempt} at step {request.step!r} may save no checkpoint any more: {why}.",
            code="pipelines.late_checkpoint",
            hint="Let this attempt end.",
        )
    checkpoint = c.Checkpoint(
        pipeline_run=run.id, step=request.step, seed=request.seed, number=held.number + 1 if held else 1, attempt=request.attempt,
        state=request.state, saved_at=scope.now,
    )  # fmt: skip
    store.put(checkpoint)
    return checkpoint


@handles(c.LatestCheckpoint)
def latest_checkpoint(request: c.LatestCheckpoint, scope: Scope) -> c.CheckpointFound:
    """The newest checkpoint of a step, if there is one."""
    store = CheckpointStore(scope.connection, scope.project)
    return c.CheckpointFound(checkpoint=store.find(request.pipeline_run, request.step, request.seed))
