"""Who executes trials in the tuner's own process: the tuner itself, one at a time, or threads."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rung.client.client import Client
from rung.client.tuning import records as r
from rung.client.tuning.execution import execute
from rung.client.tuning.folder import Folder
from rung.client.tuning.objectives import Objective
from rung.core.records import replaced

if TYPE_CHECKING:
    from rung.client.tuning.ledger import Ledger


@dataclass(frozen=True)
class Work:
    """What every trial of a sweep is executed with."""

    plan: r.Plan
    ledger: Ledger
    folder: Folder
    objective: Objective
    client: Client | None


class Crew(Protocol):
    """Executes trials."""

    @property
    def busy(self) -> int:
        """How many trials are executed now."""
        ...

    def is_free(self) -> bool:
        """Whether another trial may begin."""
        ...

    def begin(self, asked: r.Asked) -> None:
        """Execute a trial, or begin to."""
        ...

    def ended(self, timeout_s: float) -> list[r.Outcome]:
        """Trials that ended since; waits until there is one, at most so long."""
        ...

    def stop(self, *, cancel: bool) -> list[r.Outcome]:
        """Take no more trials; with ``cancel`` break off those that go on. The outcomes of these."""
        ...


class Inline:
    """The tuner's own thread: objectives may be anything, even a notebook's, and a debugger stops in them."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._done: list[r.Outcome] = []
        self._current: r.Asked | None = None

    @property
    def busy(self) -> int:
        """Outcomes not fetched."""
        return len(self._done)

    def is_free(self) -> bool:
        """Whether the outcome of the last trial was fetched."""
        return not self._done

    def begin(self, asked: r.Asked) -> None:
        """Execute a trial."""
        work = self._work
        self._current = asked
        self._done.append(execute(asked, work.plan, work.ledger.space, work.objective, work.ledger, client=work.client, folder=work.folder))
        self._current = None

    def ended(self, timeout_s: float) -> list[r.Outcome]:
        """The trial just executed."""
        done, self._done = self._done, []
        return done

    def stop(self, *, cancel: bool) -> list[r.Outcome]:
        """The trial that Ctrl-C broke off, if one was going on."""
        done, self._done = self._done, []
        return done + ([broken_off(self._work.folder, self._current)] if self._current else [])


class Threads:
    """Threads of this process: for objectives that wait, for a command or a GPU, more than they compute in Python."""

    def __init__(self, work: Work, workers: int) -> None:
        self._work = work
        self._workers = workers
        self._running: dict[int, r.Asked] = {}
        self._free = list(range(workers))
        self._done: queue.Queue[tuple[int, r.Outcome]] = queue.Queue()
        self._stopping = False

    @property
    def busy(self) -> int:
        """Threads at work."""
        return len(self._running)

    def is_free(self) -> bool:
        """Whether a thread is."""
        return bool(self._free)

    def begin(self, asked: r.Asked) -> None:
        """Begin a trial in a thread of its own."""
        worker = self._free.pop(0)
        self._running[asked.number] = asked
        threading.Thread(target=self._execute, args=(asked, worker), name=f"rung-trial-{asked.number}", daemon=True).start()

    def ended(self, timeout_s: float) -> list[r.Outcome]:
        """Trials that ended."""
        found: list[r.Outcome] = []
        try:
            worker, outcome = self._done.get(timeout=timeout_s)
            while True:
                found.append(outcome)
                self._running.pop(outcome.number, None)
                self._free.append(worker)
                worker, outcome = self._done.get_nowait()
        except queue.Empty:
            return found

    def stop(self, *, cancel: bool, patience_s: float = 10.0) -> list[r.Outcome]:
        """Threads cannot be broken off: their trials end at the next report, or are left behind."""
        self._stopping = cancel
        found: list[r.Outcome] = []
        if cancel:
            for _ in range(round(patience_s)):
                if not self._running:
                    break
                found += self.ended(1.0)
        return found + [broken_off(self._work.folder, asked) for asked in self._running.values()]

    def report(self, number: int, value: float, step: int) -> None:
        """Take an intermediate value; a trial that is to be broken off ends here."""
        self._end_if_stopping()
        self._work.ledger.report(number, value, step)

    def should_prune(self, number: int) -> bool:
        """Whether a trial falls behind; one that is to be broken off ends here."""
        self._end_if_stopping()
        return self._work.ledger.should_prune(number)

    def _end_if_stopping(self) -> None:
        if self._stopping:
            raise KeyboardInterrupt

    def _execute(self, asked: r.Asked, worker: int) -> None:
        work = self._work
        try:
            outcome = execute(
                asked, work.plan, work.ledger.space, work.objective, self, client=work.client, folder=work.folder, worker=worker
            )
        except (KeyboardInterrupt, SystemExit):
            outcome = cancelled(asked)
        self._done.put((worker, outcome))


def broken_off(folder: Folder, asked: r.Asked) -> r.Outcome:
    """How a trial ended whose end was not heard of: as it is written down, where it had ended before its run was closed."""
    kept = folder.kept(asked.number)
    return cancelled(asked) if kept is None else replaced(kept, left_open=True)


def cancelled(asked: r.Asked) -> r.Outcome:
    """The outcome of a trial that was broken off."""
    return r.Outcome(number=asked.number, run=asked.run, state="cancelled", error="It was interrupted.", left_open=True)
