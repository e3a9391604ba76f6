"""The tuner: hands out trials, judges them, closes what was left by a crash, and says in the sweep's run what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rung.client.active import ActiveRun
from rung.client.endings import Status
from rung.client.tuning import records as r
from rung.client.tuning.crews import Crew, Inline, Threads, Work
from rung.client.tuning.execution import close_run, open_run
from rung.client.tuning.processes import Processes
from rung.core.errors import Conflict, NotFound, RungError, Unavailable
from rung.core.records import replaced

Listener = Callable[[r.TrialRow], None]
_LOOK_S = 1.0


@dataclass
class Limits:
    """When a sweep ends."""

    trials: int | None
    seconds: float | None
    failures: int


@dataclass
class Tuner:
    """Runs a sweep in the open run of the sweep."""

    work: Work
    run: ActiveRun
    limits: Limits
    listener: Listener | None = None
    crew: Crew | None = None
    _ends_at: float = float("inf")
    _looked_at: float = 0.0
    _in_a_row: int = 0
    _last_error: str = ""
    _stopped: bool = False
    _best: list[int] = field(default_factory=list)

    def recover(self) -> None:
        """Bring the ledger up to date after a tuner that was killed: results on disk count, the rest is to be repeated."""
        work = self.work
        for number, run in work.ledger.left():
            outcome = work.folder.kept(number)
            if outcome is None:
                outcome = r.Outcome(number=number, run=run or "0" * 32, state="cancelled", error="It was interrupted.")
            self._settle(replaced(outcome, left_open=run is not None))

    def go(self, make: Callable[[], Crew]) -> None:
        """Trials until a limit is reached, or somebody asks to stop.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was going on is to be repeated when the sweep is gone on with.
            Conflict: too many trials failed in a row.
        """
        if self.limits.seconds is not None:
            self._ends_at = time.monotonic() + self.limits.seconds
        crew = self.crew = make()
        clean = False
        try:
            while True:
                while crew.is_free() and self._may_begin():
                    crew.begin(self.work.ledger.ask())
                if not crew.busy:
                    break
                for outcome in crew.ended(_LOOK_S):
                    self._settle(outcome)
                self._look()
                if self._in_a_row >= self.limits.failures:
                    raise Conflict(
                        f"{self._in_a_row} trials of the sweep failed in a row: {self._last_error.partition(chr(10))[0]}",
                        code="tuning.too_many_failures", hint=f"`rung tune show {self.run.id}` lists them; mend the objective, then go on.",
                    )  # fmt: skip
            clean = True
        finally:
            for outcome in crew.stop(cancel=not clean):
                self._settle(outcome)

    @property
    def stopped(self) -> bool:
        """Whether somebody asked the sweep to stop."""
        return self._stopped

    def close_left(self, outcome: r.Outcome) -> None:
        """Close the run of a trial whose process is gone."""
        work = self.work
        try:
            if work.client is not None and work.client.tracking.get(outcome.run).status != "running":
                return
        except NotFound:
            return  # the process was killed before it opened the run
        except Unavailable:
            return  # what it logged is in the spool, and arrives with what closes it or is closed by `rung tune --resume`
        asked = r.Asked(number=outcome.number, labels=work.ledger.labels(outcome.number), run=outcome.run, seed=0)
        try:
            close_run(open_run(asked, work.plan, work.client), outcome)
        except RungError as error:
            sys.stderr.write(f"rung: run {outcome.run} of trial {outcome.number} was not closed: {error}\n")

    def _may_begin(self) -> bool:
        ledger, limits = self.work.ledger, self.limits
        if self._stopped or time.monotonic() >= self._ends_at or self._in_a_row >= limits.failures or ledger.exhausted():
            return False
        return bool(ledger.waiting()) or limits.trials is None or ledger.begun() < limits.trials

    def _settle(self, outcome: r.Outcome) -> None:
        """Enter how a trial ended, and tell it on."""
        ledger, folder = self.work.ledger, self.work.folder
        if outcome.left_open:
            self.close_left(outcome)
        if outcome.state == "failed":
            self._in_a_row, self._last_error = self._in_a_row + 1, outcome.error
        elif outcome.state != "cancelled":
            self._in_a_row = 0
        ledger.tell(outcome)
        folder.forget(outcome.number)
        best = ledger.best() if outcome.state == "succeeded" else self._best
        if best != self._best:
            self._best = best
            self._tell_best()
        if self.listener is not None:
            self.listener(ledger.row(outcome.number))

    def _tell_best(self) -> None:
        """Log the best value so far to the sweep's run, and which trial has it."""
        chosen = [self.work.ledger.row(number) for number in self._best]
        plan = self.work.plan
        if len(plan.metrics) == 1:
            value = chosen[0].values[0]
            if value is not None:
                self.run.log_metric(r.BEST_PREFIX + plan.metrics[0], value, chosen[0].number)
        self.run.set_tags({r.BEST_RUN: " ".join(row.run for row in chosen), r.BEST_TRIAL: " ".join(str(row.number) for row in chosen)})

    def _look(self) -> None:
        """Ask the platform now and then whether the sweep is to stop."""
        if self.work.client is None or time.monotonic() - self._looked_at < _LOOK_S:
            return
        self._looked_at = time.monotonic()
        try:
            self._stopped = r.STOP in self.work.client.tracking.get(self.run.id).tags
        except RungError:
            return  # away for a moment: the sweep goes on
        if self._stopped:
            sys.stderr.write("rung: the sweep was asked to stop; trials that go on are finished.\n")


def crew_for(work: Work, workers: int, lock: int, *, threads: bool, reference: str) -> Callable[[], Crew]:
    """What makes the crew that was asked for."""
    if workers == 1:
        return lambda: Inline(work)
    if threads:
        return lambda: Threads(work, workers)
    return lambda: Processes(work, workers, lock, reference)


def finish(tuner: Tuner, status: Status, error: str) -> None:
    """Write down what came of a sweep, and close its run."""
    from rung.client.attachments import log_table  # noqa: PLC0415 - loads Polars

    work, run = tuner.work, tuner.run
    counts: dict[str, int] = {}
    for row in work.ledger.rows():
        counts[row.state] = counts.get(row.state, 0) + 1
    try:
        run.set_tags({r.TRIALS: ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"})
        if status != "failed":
            shares = work.ledger.importances()
            rows = [
                {"metric": metric, "param": name, "importance": share} for metric, held in shares.items() for name, share in held.items()
            ]
            if rows:
                log_table(rows, r.IMPORTANCES)
    except RungError as problem:
        sys.stderr.write(f"rung: the end of sweep {run.id} was not logged whole: {problem}\n")
    run.finish(status, error)
