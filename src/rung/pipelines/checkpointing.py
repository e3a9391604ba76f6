"""Records and requests of checkpoints: what a step saved of its state, to go on from after a retry."""

from __future__ import annotations

from typing import ClassVar

from rung.core.records import Id, Instant, Key, Number, Record
from rung.core.requests import Effect, Request
from rung.pipelines.records import Artifact, Seed


class Checkpoint(Record):
    """The newest state that a step of a pipeline run saved; ``number`` counts them. ``seed`` tells the items of a map apart."""

    pipeline_run: Id
    step: Key
    seed: Seed
    number: Number
    attempt: Number
    state: Artifact
    saved_at: Instant


class CheckpointFound(Record):
    """The newest checkpoint, if there is one."""

    checkpoint: Checkpoint | None = None


class SaveCheckpoint(Request[Checkpoint]):
    """Keep a state in the place of the one before. Raises Conflict when a later attempt has saved one."""

    operation = "pipelines.save_checkpoint"
    permission = "pipeline:run"
    audited: ClassVar[bool] = False
    pipeline_run: Id
    step: Key
    seed: Seed
    attempt: Number
    state: Artifact


class LatestCheckpoint(Request[CheckpointFound]):
    """The newest state that a step of a pipeline run saved."""

    operation = "pipelines.latest_checkpoint"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    pipeline_run: Id
    step: Key
    seed: Seed
