"""The step that runs here and now, if any: what the fluent functions of ``rung`` log to, and the step's seed."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StepContext:
    """A running step. ``transport`` reaches the platform it runs for; None in a process of its own, which connects anew."""

    pipeline: str
    pipeline_run: str
    step: str
    attempt: int
    seed: int
    run_id: str | None = None
    transport: Any = None


current_step: ContextVar[StepContext | None] = ContextVar("rung_current_step", default=None)
