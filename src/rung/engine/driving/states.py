"""What the driver holds in memory of a run's steps, and of the attempts that are in flight."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from rung.engine.admission import Grant
from rung.engine.executors import Outcome
from rung.pipelines.fates import State
from rung.pipelines.progress_store import ProgressStore
from rung.pipelines.records import StepRun, StepStatus
from rung.pipelines.tracing import Node
from rung.storage.queue import Job, QueueStore
from rung.storage.scope import Scope

if TYPE_CHECKING:
    from rung.engine.driving.mapping import Mapped

DONE: frozenset[StepStatus] = frozenset({"succeeded", "cached"})
Listener = Callable[[StepRun], None]


LOSSES = 5  # so often an attempt may be lost with its machine without counting as one of the step's own


class LeaseLost(Exception):
    """Another worker has this run now; this one must stop and write nothing more."""


class Claim:
    """The claim under which a run is driven: every transaction proves that it still stands."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.noted = job.attempts <= 1
        self.lost = threading.Event()

    def proven(self, scope: Scope) -> ProgressStore:
        """The store to write progress with. Raises LeaseLost when another worker has the run."""
        store = ProgressStore(scope.connection, scope.project)
        if self.lost.is_set() or not store.holds(self.job):
            self.lost.set()
            raise LeaseLost
        return store

    def progressed(self, scope: Scope) -> None:
        """Note that this claim has got somewhere, so that earlier ones whose workers died count no longer."""
        if not self.noted:
            QueueStore(scope.connection).progressed(self.job)


class Live(msgspec.Struct):
    """A step as the driver holds it between its rows."""

    node: Node
    row: StepRun
    state: State = "waiting"
    parts: dict[str, Any] = msgspec.field(default_factory=dict)
    columns: dict[str, list[Any]] = msgspec.field(default_factory=dict)
    number: int = 0
    failures: int = 0
    losses: int = 0
    deaths: int = 0
    undeclared: tuple[str, ...] = ()
    mapped: Mapped | None = None
    taken: tuple[StepRun, str] | None = None
    announced: bool = False

    @property
    def key(self) -> str:
        """Its key in the plan."""
        return self.row.key


class Work(msgspec.Struct):
    """One attempt in flight: at a step, or at a batch of a map's items by their positions."""

    live: Live
    id: str
    number: int
    executor: str
    grant: Grant
    positions: tuple[int, ...] = ()
    slot: bool = False
    stopped: bool = False


class Ended(msgspec.Struct, frozen=True):
    """An attempt that has come to its end; ``again_in`` seconds it is tried once more, if at all."""

    work: Work
    outcome: Outcome
    again_in: float | None = None
