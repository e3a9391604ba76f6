"""The protocol of executors and the family."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from rung.core.digests import digest_of
from rung.core.errors import Invalid
from rung.core.families import Family
from rung.pipelines.context import StepContext
from rung.pipelines.items import ITEMS, items_of
from rung.pipelines.materialisers import Payload, load, materialise
from rung.pipelines.records import Artifact
from rung.storage.blobs import BlobStore

INLINE_BYTES = 4096


class Piece(msgspec.Struct, frozen=True):
    """An input that is an output of an earlier step: which artifacts it is made of, and the path taken into it."""

    artifacts: tuple[Artifact, ...]
    whole: bool = False
    path: tuple[str | int, ...] = ()


class Task(msgspec.Struct, frozen=True):
    """One attempt at a step: what to call, with what, and where its log and files go.

    ``draws`` says whether it may draw from the random generators of its process: of one that does not they are left alone.
    """

    id: str
    step: str
    target: str
    outputs: tuple[str, ...]
    arguments: dict[str, Any]
    context: StepContext
    log: Path
    scratch: Path
    function: Callable[..., Any] | None = None
    timeout_s: float | None = None
    memory_bytes: int | None = None
    folder: Path | None = None
    code: Path | None = None
    snapshot: str = ""
    environ: dict[str, str] = msgspec.field(default_factory=dict)
    environment: Path | None = None
    secrets: tuple[str, ...] = ()
    cpus: float | None = None
    gpus: float | None = None
    resources: dict[str, float] = msgspec.field(default_factory=dict)
    items: tuple[dict[str, Any], ...] = ()
    seeds: tuple[int, ...] = ()
    draws: bool = True
    audit: bool = False


class ItemOutcome(msgspec.Struct, frozen=True):
    """How one item of a batch ended."""

    status: Literal["succeeded", "failed"]
    outputs: tuple[Artifact, ...] = ()
    error: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    error_types: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended. ``error_types`` are the dotted names of the classes of what was raised, by its MRO.

    One that was lost is ``blameless`` when its machine or another engine's worker died, which no retry of the step's pays for.

    A batch that was run to its end has succeeded, even where some of its ``items`` failed.
    """

    status: Literal["succeeded", "failed", "timed_out", "cancelled", "lost"]
    outputs: tuple[Artifact, ...] = ()
    error: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    error_types: tuple[str, ...] = ()
    items: tuple[ItemOutcome, ...] = ()
    undeclared: tuple[str, ...] = ()
    blameless: bool = False


class Executor(Protocol):
    """Runs attempts. ``can_stop`` says whether cancel really ends the user's code, ``slots`` how many run side by side.

    One that is ``local`` uses the cores, memory and GPUs of this machine.
    """

    can_stop: bool
    local: bool

    @property
    def slots(self) -> int:
        """How many attempts may be in flight at once."""
        ...

    def submit(self, task: Task) -> Future[Outcome]:
        """Start an attempt; the future never raises."""
        ...

    def cancel(self, task: str) -> None:
        """Stop an attempt, if it can be stopped."""
        ...

    def close(self) -> None:
        """Stop everything and let go."""
        ...


EXECUTORS: Family[Callable[..., Executor]] = Family("executors", "rung.engine.executors")


def stored(value: Any, task_step: str, names: tuple[str, ...], blobs: BlobStore) -> tuple[Artifact, ...]:
    """The artifacts of what a step returned. Raises Invalid naming step, output and type."""
    if len(names) == 1:
        values: tuple[Any, ...] = (value,)
    elif isinstance(value, tuple) and len(value) == len(names):
        values = value
    else:
        raise Invalid(
            f"Step {task_step!r} is annotated to return {len(names)} values, but returned {type(value).__name__}.",
            code="pipelines.wrong_outputs", hint="Return a tuple of that length, or change the annotation.",
        )  # fmt: skip
    return tuple(_artifact(item, name, task_step, blobs) for item, name in zip(values, names, strict=True))


def _artifact(value: Any, name: str, step: str, blobs: BlobStore) -> Artifact:
    kind, payload = materialise(value, where=f"output {name!r} of step {step!r}")
    if isinstance(payload.data, bytes) and len(payload.data) <= INLINE_BYTES:
        data = payload.data
        return Artifact(name=name, kind=kind, digest=digest_of(data), size_bytes=len(data), meta=payload.meta, inline=data)
    size = len(payload.data) if isinstance(payload.data, bytes) else payload.data.stat().st_size
    return Artifact(name=name, kind=kind, digest=blobs.put(payload.data), size_bytes=size, meta=payload.meta)


def value_of(artifact: Artifact, blobs: BlobStore, scratch: Path) -> Any:
    """A fresh value of an artifact."""
    if artifact.kind == ITEMS:
        return [item_value(parts, blobs, scratch) for parts in items_of(payload_of(artifact, blobs).data)]
    return load(artifact.kind, payload_of(artifact, blobs), scratch)


def item_value(parts: tuple[Artifact, ...], blobs: BlobStore, scratch: Path) -> Any:
    """What one call of a map's step answered."""
    held = tuple(value_of(part, blobs, scratch) for part in parts)
    return held if len(held) != 1 else held[0]


def payload_of(artifact: Artifact, blobs: BlobStore) -> Payload:
    """The bytes of an artifact."""
    return Payload(artifact.inline if artifact.inline is not None else blobs.get(artifact.digest), artifact.meta)


def resolved(value: Any, blobs: BlobStore, scratch: Path) -> Any:
    """An argument with every piece in it replaced by a fresh value."""
    if isinstance(value, Piece):
        held = [value_of(artifact, blobs, scratch) for artifact in value.artifacts]
        found: Any = tuple(held) if value.whole else held[0]
        for part in value.path:
            found = found[part]
        return found
    if type(value) in {list, tuple}:
        return type(value)(resolved(item, blobs, scratch) for item in value)
    if type(value) is dict:
        return {key: resolved(item, blobs, scratch) for key, item in value.items()}
    return value


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python and, where it is loaded, of NumPy."""
    import random  # noqa: PLC0415
    import sys  # noqa: PLC0415

    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators, and put them back afterwards, for they belong to whoever runs the pipeline as well."""
    import random  # noqa: PLC0415
    import sys  # noqa: PLC0415

    numpy, state = sys.modules.get("numpy"), random.getstate()
    numpys = numpy.random.get_state() if numpy else None
    seed_everything(seed)
    try:
        yield
    finally:
        random.setstate(state)
        if numpy:
            numpy.random.set_state(numpys)
