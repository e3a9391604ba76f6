"""From a plan's handles to what an executor is given, what a cache key is made of, and what a run answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from rung.core.digests import digest_of
from rung.core.errors import Invalid
from rung.engine.executors.family import Piece
from rung.engine.host import ServiceTransport
from rung.pipelines.materialisers import materialise
from rung.pipelines.records import Artifact, PipelineRun
from rung.pipelines.tracing import Either, Handle, Plan, operands_in
from rung.tracking.records import RunContext, StartRun

R = TypeVar("R")
Outputs = Callable[[str], "tuple[Artifact, ...] | None"]
"""The outputs of a node by its key; None for one that has ended without a result."""
_PLAIN = (str, int, float, bool, type(None))
_EXACT = 2**53


def changed(record: R, **fields: Any) -> R:
    """The record with other values in some fields."""
    return msgspec.structs.replace(record, **fields)  # type: ignore[type-var]  # a Struct, see core.records


def content(value: Any, outputs: Outputs, *, where: str) -> Any:
    """Plain parts that stand for an argument's content: digests for handles and values alike, never ids."""
    if isinstance(value, (Handle, Either)):
        artifacts, path = held_by(value, outputs)
        return [[[a.kind, a.digest, a.meta] for a in artifacts], list(path)]
    if isinstance(value, Piece):
        return [[[a.kind, a.digest, a.meta] for a in value.artifacts], list(value.path)]
    if type(value) is bool or value is None or (type(value) is int and -_EXACT <= value <= _EXACT):
        return ["json", digest_of(msgspec.json.encode(value)), {}]
    if type(value) in {list, tuple} and _has_operand(value):
        return [type(value).__name__, *(content(item, outputs, where=where) for item in value)]
    if type(value) is dict and _has_operand(value):
        return ["dict", [[str(key), content(item, outputs, where=where)] for key, item in value.items()]]
    kind, payload = materialise(value, where=where)
    data = payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
    return [kind, digest_of(data), payload.meta]


def wired(value: Any, outputs: Outputs) -> Any:
    """An argument with a piece in the place of every handle, and None for what has no result."""
    if isinstance(value, (Handle, Either)):
        artifacts, path = held_by(value, outputs)
        return Piece(artifacts, whole=len(artifacts) > 1, path=path) if artifacts else None
    if type(value) in {list, tuple}:
        return type(value)(wired(item, outputs) for item in value)
    if type(value) is dict:
        return {key: wired(item, outputs) for key, item in value.items()}
    return value


def held_by(value: Handle | Either, outputs: Outputs) -> tuple[tuple[Artifact, ...], tuple[str | int, ...]]:
    """The artifacts that an output stands for and the way into them; of an ``either`` the first that has a result."""
    for handle in value.handles if isinstance(value, Either) else (value,):
        held = outputs(handle.key)
        if held is not None:
            return (held if handle.index is None else (held[handle.index],)), handle.path
    return (), ()


def inside(value: Any, path: tuple[str | int, ...]) -> Any:
    """What lies at a path in a value. Raises Invalid where it does not."""
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError) as error:
            raise Invalid(
                f"An output has nothing at [{part!r}]: {type(error).__name__}: {error}.",
                code="pipelines.no_part", hint="Compare the pipeline with what the step returns.",
            ) from None  # fmt: skip
    return value


def answered(plan: Plan, outputs: Outputs) -> tuple[Artifact, ...]:
    """The artifacts a pipeline answers, named after the steps they come from; those of skipped steps are left out."""
    found: list[Artifact] = []
    for operand in operands_in(plan.answer if isinstance(plan.answer, (list, tuple, dict)) else [plan.answer]):
        for handle in operand.handles if isinstance(operand, Either) else (operand,):
            held = outputs(handle.key)
            if held is not None:
                chosen = held if handle.index is None else (held[handle.index],)
                found += [changed(a, name=handle.source if len(chosen) == 1 else f"{handle.key}.{i}") for i, a in enumerate(chosen)]
                break
    return tuple(found)


def open_tracking_run(transport: ServiceTransport, run: PipelineRun, context: RunContext) -> str:
    """The id of the one tracking run that a pipeline run's steps log to; asking twice opens it once."""
    params = {name: value if isinstance(value, _PLAIN) else msgspec.json.encode(value).decode() for name, value in run.params.items()}
    name = f"{run.pipeline}:{run.number}"
    wish = StartRun(experiment=run.pipeline, name=name, id=run.id, params=params, context=context, pipeline_run=run.id)
    return transport.call(wish).id


def step_seed(seed: int, key: str) -> int:
    """A step's seed: derived from the run's and the step's place in the plan, 32 bits."""
    return int(digest_of(f"{seed} {key}".encode())[7:15], 16)


def _has_operand(value: Any) -> bool:
    return next(operands_in(value), None) is not None
