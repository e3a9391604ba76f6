"""A fallback: a rule, or another node, answers where the first fails or takes too long, and the answer says so."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from msgspec import Meta

from rung.core.errors import Invalid, RungError
from rung.core.records import Line, Record
from rung.registry.predictor import UNSCORABLE
from rung.serving.graph.expressions import Expression
from rung.serving.graph.family import GRAPH_NODES, Building, Plain
from rung.serving.graph.flow import Flow, Shape
from rung.serving.graph.nodes.switch import common_shape
from rung.serving.graph.nodes.transform import reader
from rung.serving.graph.running import Run

FAILED, SLOW = "fallback:failed", "fallback:slow"
_MOST_WAITING = 32
_POOL = ThreadPoolExecutor(_MOST_WAITING, thread_name_prefix="rung-deadline")
_FREE = threading.BoundedSemaphore(_MOST_WAITING)


class FallbackSettings(Record):
    """``to`` is a node, or ``rule`` an expression over the request's columns that gives the score; ``deadline_ms`` 0: none.

    Wrong input of the caller is no failure unless ``on_bad_input`` says so.
    """

    to: Line = ""
    rule: Line = ""
    deadline_ms: Annotated[float, Meta(ge=0, le=600_000)] = 0.0
    on_bad_input: bool = False


@dataclass(frozen=True, slots=True)
class Fallback:
    """Asks its input, and the other one where that does not answer."""

    source: str
    to: str
    rule: Expression | None
    deadline_s: float
    caught: tuple[type[Exception], ...]
    passed: tuple[type[Exception], ...]
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The input's rows, else the other node's, flagged."""
        try:
            return self._in_time(run) if self.deadline_s else run.value(self.source)
        except TooLate:
            run.flag(SLOW)
        except self.passed:
            raise
        except self.caught:
            run.flag(FAILED)
        return self._otherwise(run)

    def _otherwise(self, run: Run) -> Flow:
        if self.rule is None:
            return run.value(self.to)
        flow = run.value("request")
        score = self.rule.values(reader(run, flow, ()), flow.height)
        return flow.having(score=score, classes=self.shape.classes)

    def _in_time(self, run: Run) -> Flow:
        """What the input gives within the deadline; a straggler is left to end in its own thread, and few may be there at once."""
        if not _FREE.acquire(blocking=False):
            raise TooLate
        trial = run.copy()
        task = _POOL.submit(_quietly, trial, self.source)
        task.add_done_callback(lambda _: _FREE.release())
        found = task.result(self.deadline_s)
        run.take(trial)
        return found


@GRAPH_NODES.member("fallback")
class FallbackKind(Plain):
    """A second answer: ``inputs = ["model"]``, ``to = "previous"`` or ``rule = "0.1"``, ``deadline_ms = 20``."""

    settings = FallbackSettings

    @staticmethod
    def refers(settings: FallbackSettings) -> tuple[str, ...]:
        """The node it falls back to."""
        return (settings.to,) if settings.to else ()

    @staticmethod
    def made(settings: FallbackSettings, building: Building) -> Fallback:
        """The node, if what it falls back to answers the same kind of thing."""
        source = building.only_one()
        if bool(settings.to) == bool(settings.rule):
            raise building.wrong("it needs one of `to` and `rule`", "Name a node, or write an expression that gives a score.")
        passed: tuple[type[Exception], ...] = () if settings.on_bad_input else (Invalid,)
        held = (settings.deadline_ms / 1000, (RungError, *UNSCORABLE, RuntimeError, MemoryError), passed)
        if settings.to:
            shape = common_shape(building, (source, settings.to))
            return Fallback(source, settings.to, None, *held, shape)
        if building.shape.task == "multiclass":
            raise building.wrong("a rule gives one number, and its input one a class", "Fall back to a model with the same classes.")
        rule = building.expression(settings.rule, "number", over=building.request)
        shape = replace(building.shape, kinds=dict(building.request.kinds), outputs={})
        return Fallback(source, "", rule, *held, shape)


def _quietly(run: Run, name: str) -> Flow:
    with np.errstate(all="ignore"):  # a setting of each thread
        return run.value(name)
