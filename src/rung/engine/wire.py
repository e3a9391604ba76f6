"""What goes to a child process and comes back, as files: the errand and its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from rung.engine.executors.family import Piece, Task
from rung.pipelines.materialisers import materialise
from rung.pipelines.records import Artifact


class Answer(msgspec.Struct):
    """How the child's attempt ended."""

    status: Literal["succeeded", "failed"]
    outputs: tuple[Artifact, ...]
    error: str
    cpu_s: float


class Errand(msgspec.Struct):
    """One attempt, as the child is told of it."""

    id: str
    step: str
    target: str
    outputs: tuple[str, ...]
    arguments: Any
    pipeline: str
    pipeline_run: str
    attempt: int
    seed: int
    run_id: str | None
    scratch: str
    folder: str
    blobs: str
    memory_bytes: int | None
    answer: str


def packed(task: Task, answer: Path) -> bytes:
    """The errand's bytes."""
    context = task.context
    return msgspec.msgpack.encode(
        Errand(
            id=task.id,
            step=task.step,
            target=task.target,
            outputs=task.outputs,
            arguments=_told(task.arguments),
            pipeline=context.pipeline,
            pipeline_run=context.pipeline_run,
            attempt=context.attempt,
            seed=context.seed,
            run_id=context.run_id,
            scratch=str(task.scratch),
            folder=str(task.folder or "."),
            blobs=task.environ.get("RUNG_STORAGE_BLOBS", ""),
            memory_bytes=task.memory_bytes,
            answer=str(answer),
        )
    )


def _told(value: Any) -> Any:
    if isinstance(value, Piece):
        return ["piece", [msgspec.to_builtins(a, builtin_types=(bytes,)) for a in value.artifacts], value.whole, list(value.path)]
    if type(value) in {list, tuple} and _has_piece(value):
        return [type(value).__name__, [_told(item) for item in value]]
    if type(value) is dict and all(type(key) is str for key in value):
        return ["dict", [[key, _told(item)] for key, item in value.items()]]
    kind, payload = materialise(value, where="argument")
    data = payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
    return [
        "value",
        msgspec.to_builtins(
            Artifact(name="argument", kind=kind, digest="", size_bytes=len(data), meta=payload.meta, inline=data), builtin_types=(bytes,)
        ),
    ]


def untold(node: Any) -> Any:
    """An argument as the executor resolves it."""
    tag, *rest = node
    if tag == "piece":
        return Piece(msgspec.convert(rest[0], tuple[Artifact, ...]), rest[1], tuple(rest[2]))
    if tag == "dict":
        return {key: untold(item) for key, item in rest[0]}
    if tag in {"list", "tuple"}:
        items = [untold(item) for item in rest[0]]
        return tuple(items) if tag == "tuple" else items
    return Piece((msgspec.convert(rest[0], Artifact),))


def _has_piece(value: Any) -> bool:
    if isinstance(value, Piece):
        return True
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return any(_has_piece(item) for item in items)
