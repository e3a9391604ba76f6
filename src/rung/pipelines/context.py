"""The step that runs here and now: what the fluent functions of ``rung`` log to, its seed, its secrets and its checkpoints."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from rung.core.errors import Conflict, Invalid
from rung.core.ids import new_id
from rung.core.settings import load_settings
from rung.pipelines.checkpoints import Checkpoints
from rung.pipelines.secrets import PREFIX, secret_value
from rung.tracking.records import LogBatch, MetricPoint

_EVERY_S = 1.0
_LOGGERS = "rung.step"


@dataclass(frozen=True)
class StepContext:
    """A running step. ``transport`` reaches the platform it runs for; None in a process of its own, which connects anew.
    ``project`` is the id of its run's.

    Outside of a run, as in a test, everything works in memory: ``pipeline_run`` is empty, and checkpoints live as long
    as the context.
    """

    pipeline: str = ""
    project: str = ""
    pipeline_run: str = ""
    step: str = ""
    attempt: int = 1
    seed: int = 0
    run_id: str | None = None
    transport: Any = None
    connect: Callable[[], Any] | None = field(default=None, repr=False, compare=False)
    params_text: str = ""
    secrets: tuple[str, ...] = ()
    secret_values: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def log(self) -> logging.Logger:
        """A logger whose records, from INFO on, go to the step's log."""
        _ready_loggers()
        return logging.getLogger(f"{_LOGGERS}.{self.step}" if self.step else _LOGGERS)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the pipeline run, as plain values."""
        found: dict[str, Any] = msgspec.json.decode(self.params_text) if self.params_text else {}
        return found

    @cached_property
    def checkpoint(self) -> Checkpoints:
        """What this step saved of its state: ``checkpoint.save(state)`` and ``checkpoint.latest()``."""
        return Checkpoints(self.pipeline_run, self.step, self.seed, self.attempt, self.reach if self.pipeline_run else None)

    def progress(self, done: float, of: float | None = None, note: str = "") -> None:
        """Tell how far the step is, in its log; at most one line a second, and the last one."""
        now = time.monotonic()
        if now - self._told[0] < _EVERY_S and (of is None or done < of):
            return
        self._told[0] = now
        share = f" of {of:g} ({done / of:.0%})" if of else ""
        self.log.info("%s%s%s", f"{done:g}", share, f": {note}" if note else "")

    def secret(self, name: str) -> str:
        """A secret that the step was declared to need. Raises Invalid for another one, NotFound where it is missing."""
        if name in self.secret_values:
            return self.secret_values[name]
        if self.pipeline_run and name not in self.secrets:
            raise Invalid(
                f"Step {self.step!r} asks for the secret {name!r} without saying so.",
                code="pipelines.undeclared_secret",
                hint=f"Declare it: @step(secrets=[{name!r}]).",
            )
        if self.pipeline_run and os.environ.get(PREFIX + name):
            return os.environ[PREFIX + name]
        return secret_value(name, load_settings(), step=self.step)

    def log_metric(self, name: str, value: float, step: int = 0) -> None:
        """Log one value of a metric of the run that the step belongs to."""
        self.log_metrics({name: value}, step)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log values of metrics of the run that the step belongs to; without a run they go to the log."""
        if self.run_id is None:
            self.log.info("metrics at %d: %s", step, ", ".join(f"{name}={value:g}" for name, value in metrics.items()))
            return
        points = tuple(MetricPoint(key=name, value=float(value), step=step) for name, value in metrics.items())
        self.reach().call(LogBatch(run=self.run_id, batch=new_id(), metrics=points))

    def reach(self) -> Any:
        """The way to the platform that the step runs for. Raises Conflict where there is none."""
        found = self.transport or (self.connect() if self.connect else None)
        if found is None:
            raise Conflict(
                f"Step {self.step!r} cannot reach the platform.", code="pipelines.no_transport", hint="Ask rung.context() for the context."
            )
        return found

    @cached_property
    def _told(self) -> list[float]:
        return [float("-inf")]


class _Fallback(logging.Handler):
    """Standard error, where nobody else listens: a step called as a function in a script or a notebook."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            sys.stderr.write(f"{self.format(record)}\n")


def _ready_loggers() -> None:
    logger = logging.getLogger(_LOGGERS)
    if not logger.handlers:
        handler = _Fallback()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


current_step: ContextVar[StepContext | None] = ContextVar("rung_current_step", default=None)
