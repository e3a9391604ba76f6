"""From a plan's handles to what an executor is given, what a cache key is made of, and what a run answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from rung.core.digests import digest_of
from rung.engine.executors.family import Piece
from rung.engine.host import ServiceTransport
from rung.pipelines.materialisers import materialise
from rung.pipelines.records import Artifact, PipelineRun
from rung.pipelines.tracing import Handle, Plan, handles_in
from rung.tracking.records import RunContext, StartRun

R = TypeVar("R")
Outputs = Callable[[str], tuple[Artifact, ...]]


def changed(record: R, **fields: Any) -> R:
    """The record with other values in some fields."""
    return msgspec.structs.replace(record, **fields)  # type: ignore[type-var]  # a Struct, see core.records


def content(value: Any, outputs: Outputs, *, where: str) -> Any:
    """Plain parts that stand for an argument's content: digests for handles and values alike, never ids."""
    if isinstance(value, Handle):
        return [[[a.kind, a.digest, a.meta] for a in _chosen(value, outputs)], list(value.path)]
    if type(value) in {list, tuple}:
        return [type(value).__name__, *(content(item, outputs, where=where) for item in value)]
    if type(value) is dict and next(handles_in(value), None) is not None:
        return ["dict", [[str(key), content(item, outputs, where=where)] for key, item in value.items()]]
    kind, payload = materialise(value, where=where)
    data = payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
    return [kind, digest_of(data), payload.meta]


def wired(value: Any, outputs: Outputs) -> Any:
    """An argument with a piece in the place of every handle."""
    if isinstance(value, Handle):
        chosen = _chosen(value, outputs)
        return Piece(chosen, whole=value.index is None and len(chosen) > 1, path=value.path)
    if type(value) in {list, tuple}:
        return type(value)(wired(item, outputs) for item in value)
    if type(value) is dict:
        return {key: wired(item, outputs) for key, item in value.items()}
    return value


def answered(plan: Plan, outputs: Outputs) -> tuple[Artifact, ...]:
    """The artifacts a pipeline answers, named after the steps they come from."""
    found: list[Artifact] = []
    for handle in handles_in(plan.answer if isinstance(plan.answer, (list, tuple, dict)) else [plan.answer]):
        chosen = _chosen(handle, outputs)
        found += [changed(a, name=handle.source if len(chosen) == 1 else f"{handle.key}.{i}") for i, a in enumerate(chosen)]
    return tuple(found)


def open_tracking_run(transport: ServiceTransport, run: PipelineRun, context: RunContext) -> str:
    """The id of the one tracking run that a pipeline run's steps log to; asking twice opens it once."""
    params = {
        name: value if isinstance(value, (str, int, float, bool, type(None))) else msgspec.json.encode(value).decode()
        for name, value in run.params.items()
    }
    name = f"{run.pipeline}:{run.number}"
    wish = StartRun(experiment=run.pipeline, name=name, id=run.id, params=params, context=context, pipeline_run=run.id)
    return transport.call(wish).id


def step_seed(seed: int, key: str) -> int:
    """A step's seed: derived from the run's and the step's place in the plan, 32 bits."""
    return int(digest_of(f"{seed} {key}".encode())[7:15], 16)


def _chosen(handle: Handle, outputs: Outputs) -> tuple[Artifact, ...]:
    held = outputs(handle.key)
    return held if handle.index is None else (held[handle.index],)
