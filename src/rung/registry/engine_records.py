"""What serves a version, and requests about it."""

from __future__ import annotations

from typing import ClassVar

from rung.core.events import Event
from rung.core.records import Count, Instant, Line, ModelName, Number, Record
from rung.core.references import LockDigest
from rung.core.requests import Effect, Request


class ServingEngine(Record):
    """What answers for a version: an engine with its artifact, held against the model on ``rows`` rows, or the model's own library.

    ``largest_difference`` is in units of max(1, |score|). ``cost_us`` and ``native_us`` are microseconds for one row of this
    engine and of the model's own library, where it was compiled; 0 where the model refuses the row of its input example.
    ``compiled_part``: with Rung's compiled part, not NumPy alone. ``reason`` says why the model's own library answers.
    """

    engine: Line
    artifact: LockDigest = ""
    size_bytes: Count = 0
    rows: Count = 0
    largest_difference: float = 0.0
    cost_us: float = 0.0
    native_us: float = 0.0
    compiled_at: Instant | None = None
    compiled_part: bool = False
    reason: Line = ""


class GetEngine(Request[ServingEngine]):
    """What serves a version, how far it agrees with the model's own library, and how much faster it is."""

    operation = "registry.get_engine"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    number: Number


class CompileVersion(Request[ServingEngine]):
    """Compile a version for serving anew, by the fastest engine that agrees with it, or by the one named."""

    operation = "registry.compile_version"
    permission = "model:write"
    effect: ClassVar[Effect] = "work"
    model: ModelName
    number: Number
    engine: Line = ""


class EngineChanged(Event):
    """A version was compiled anew, and something else than before is to serve it."""

    kind: ClassVar[str] = "registry.engine_changed"
    model: ModelName
    number: Number
    at: Instant
    said: Line
