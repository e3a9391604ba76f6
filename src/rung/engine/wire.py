"""What goes to another process and comes back: the errand and its answer, in MessagePack."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import msgspec

from rung.core.records import prepared
from rung.engine.executors.family import ItemOutcome, Outcome, Piece, Task
from rung.pipelines.context import StepContext
from rung.pipelines.materialisers import materialise
from rung.pipelines.records import Artifact

_CONTEXT = frozenset(f.name for f in fields(StepContext))


class Answer(msgspec.Struct):
    """How an attempt ended where it ran. ``worn`` says why its process must not be used again; ``files`` what it imported."""

    status: Literal["succeeded", "failed"]
    outputs: tuple[Artifact, ...] = ()
    error: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    error_types: tuple[str, ...] = ()
    items: tuple[ItemOutcome, ...] = ()
    undeclared: tuple[str, ...] = ()
    worn: str = ""
    files: tuple[tuple[str, int, int], ...] = ()
    log: str = ""


class Errand(msgspec.Struct, omit_defaults=True):
    """One attempt, as another process is told of it.

    ``code`` is the folder its modules are imported from, ``snapshot`` the digest of the same files for another machine.
    """

    id: str
    step: str
    target: str
    outputs: tuple[str, ...]
    arguments: Any
    context: dict[str, Any]
    scratch: str
    folder: str
    blobs: str
    code: str = ""
    snapshot: str = ""
    memory_bytes: int | None = None
    items: tuple[Any, ...] = ()
    seeds: tuple[int, ...] = ()
    audit: bool = False
    environ: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    log: str = ""
    timeout_s: float | None = None
    isolated: bool = False
    environment: str = ""


def packed(task: Task, *, isolated: bool = False) -> bytes:
    """The errand's bytes. Raises Invalid for an argument that cannot be kept."""
    context = {name: getattr(task.context, name) for name in _CONTEXT if name != "transport"}
    return msgspec.msgpack.encode(
        Errand(
            id=task.id, step=task.step, target=task.target, outputs=task.outputs, arguments=_told(task.arguments),
            context={name: value for name, value in context.items() if isinstance(value, (str, int, float, bool, type(None), tuple))},
            scratch=str(task.scratch.absolute()), folder=str(task.folder or "."), blobs=task.environ.get("RUNG_STORAGE_BLOBS", ""),
            code=str(task.code or ""), snapshot=task.snapshot, memory_bytes=task.memory_bytes,
            items=tuple(_told(item) for item in task.items), seeds=task.seeds, audit=task.audit, environ=task.environ,
            secrets=task.secrets, log=str(task.log.absolute()), timeout_s=task.timeout_s, isolated=isolated,
            environment=str(task.environment or ""),
        )
    )  # fmt: skip


def unpacked(errand: Errand) -> Task:
    """The task of an errand, as the process that was told of it carries it out."""
    return Task(
        id=errand.id, step=errand.step, target=errand.target, outputs=errand.outputs, arguments=untold(errand.arguments),
        context=StepContext(**{name: value for name, value in errand.context.items() if name in _CONTEXT}),
        log=Path(errand.log), scratch=Path(errand.scratch), folder=Path(errand.folder), code=Path(errand.code) if errand.code else None,
        snapshot=errand.snapshot, memory_bytes=errand.memory_bytes, items=tuple(untold(item) for item in errand.items),
        seeds=errand.seeds, audit=errand.audit, environ={**errand.environ, "RUNG_STORAGE_BLOBS": errand.blobs}, secrets=errand.secrets,
        timeout_s=errand.timeout_s, environment=Path(errand.environment) if errand.environment else None,
    )  # fmt: skip


def outcome_of(answer: Answer) -> Outcome:
    """What the engine is told of an answer."""
    return Outcome(
        answer.status, outputs=answer.outputs, error=answer.error, wall_s=answer.wall_s, cpu_s=answer.cpu_s,
        peak_bytes=answer.peak_bytes, error_types=answer.error_types, items=answer.items, undeclared=answer.undeclared,
    )  # fmt: skip


def answer_of(outcome: Outcome) -> Answer:
    """An outcome as it is sent."""
    return Answer(
        "succeeded" if outcome.status == "succeeded" else "failed", outputs=outcome.outputs, error=outcome.error, wall_s=outcome.wall_s,
        cpu_s=outcome.cpu_s, peak_bytes=outcome.peak_bytes, error_types=outcome.error_types, items=outcome.items,
        undeclared=outcome.undeclared,
    )  # fmt: skip


def _told(value: Any) -> Any:
    if isinstance(value, Piece):
        return ["piece", [msgspec.to_builtins(a, builtin_types=(bytes,)) for a in value.artifacts], value.whole, list(value.path)]
    if type(value) in {list, tuple} and _has_piece(value):
        return [type(value).__name__, [_told(item) for item in value]]
    if type(value) is dict and all(type(key) is str for key in value):
        return ["dict", [[key, _told(item)] for key, item in value.items()]]
    if value is None or type(value) in {bool, str, float} or (type(value) is int and -(2**63) <= value < 2**63):
        return ["plain", value]
    kind, payload = materialise(value, where="argument")
    data = payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
    held = Artifact(name="argument", kind=kind, digest="", size_bytes=len(data), meta=payload.meta, inline=data)
    return ["value", msgspec.to_builtins(held, builtin_types=(bytes,))]


def untold(node: Any) -> Any:
    """An argument as the executor resolves it."""
    tag, *rest = node
    if tag == "plain":
        return rest[0]
    if tag == "piece":
        return Piece(msgspec.convert(rest[0], prepared(tuple[Artifact, ...])), rest[1], tuple(rest[2]))
    if tag == "dict":
        return {key: untold(item) for key, item in rest[0]}
    if tag in {"list", "tuple"}:
        items = [untold(item) for item in rest[0]]
        return tuple(items) if tag == "tuple" else items
    return Piece((msgspec.convert(rest[0], prepared(Artifact)),))


def _has_piece(value: Any) -> bool:
    if isinstance(value, Piece):
        return True
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return any(_has_piece(item) for item in items)
