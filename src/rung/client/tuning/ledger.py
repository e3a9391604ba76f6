"""A sweep's ledger: which trials there are, what they reported, how they ended. One process at a time writes it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import Trial as OptunaTrial
from optuna.trial import TrialState as State

from rung.client.tuning.folder import Folder
from rung.client.tuning.records import Asked, Outcome, Plan, TrialRow
from rung.client.tuning.records import TrialState as Named
from rung.client.tuning.space import Choice, Int, Range, Space, grid_of, values_of
from rung.client.tuning.strategies import GRID, pruner_of, quiet, sampler_maker
from rung.core.ids import new_id

_NAME = "sweep"  # one a file; Hyperband chooses brackets by it
_RUN, _OF, _INTERRUPTED, _ERROR, _SEED, _PLACE = "run", "repeats", "interrupted", "error", "seed", "place"
_STATES: dict[State, Named] = {
    State.RUNNING: "running", State.WAITING: "waiting", State.COMPLETE: "succeeded", State.PRUNED: "pruned", State.FAIL: "failed",
}  # fmt: skip


class Journal(BaseJournalBackend):
    """Optuna's operations in a file that one process writes; a line that was cut short by a crash is cut off."""

    def __init__(self, path: Path, *, write: bool = True) -> None:
        content = path.read_bytes() if path.exists() else b""
        whole = 0
        self._logs: list[dict[str, Any]] = []
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                self._logs.append(json.loads(line))
            except ValueError:
                break
            whole += len(line)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600) if write else -1
        if write and whole < len(content):
            os.ftruncate(self._file, whole)

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Operations from a number on."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append operations."""
        lines = [json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs]
        os.write(self._file, b"".join(lines))
        self._logs += [json.loads(line) for line in lines]

    def sync(self) -> None:
        """Bring what was appended to the disk, for when the machine loses power; a killed process loses nothing anyway."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Ledger:
    """The trials of a sweep. Threads may share it."""

    def __init__(self, folder: Folder, plan: Plan, space: Space, *, sampler: Any, pruner: Any, workers: int) -> None:
        self.plan = plan
        self.space = space
        several = len(plan.metrics) > 1
        self._sampler = sampler_maker(sampler, plan.seed, several=several, parallel=workers > 1)
        self._lock = threading.RLock()
        self._open: dict[int, OptunaTrial] = {}
        self._journal = Journal(folder.ledger)
        self._grid = grid_of(space) if sampler == GRID else []
        self._distributions = {name: distribution_of(ranged) for name, ranged in space.items()}
        with quiet():
            self.study = _study(JournalStorage(self._journal), plan, pruner_of(pruner))

    def ask(self) -> Asked:
        """The next trial: one to repeat, else the grid's next point, else one the sampler chooses."""
        with self._lock, quiet():
            if self._grid and not self.waiting():
                used = self._places()
                place = next(place for place in range(len(self._grid)) if place not in used)
                self.study.enqueue_trial(self._grid[place], user_attrs={_PLACE: place})
            number = len(self.study.get_trials(deepcopy=False))
            self.study.sampler = self._sampler(derived(self.plan.seed, number))
            trial = self.study.ask(self._distributions)
            run = new_id()
            held = trial.user_attrs
            seed = held.get(_SEED, derived(self.plan.seed, trial.number))
            trial.set_user_attr(_SEED, seed)
            trial.set_user_attr(_RUN, run)
            self._open[trial.number] = trial
            self._journal.sync()
            return Asked(number=trial.number, labels=dict(trial.params), run=run, seed=seed, repeats=held.get(_OF))

    def report(self, number: int, value: float, step: int) -> None:
        """Take an intermediate value."""
        with self._lock, quiet():
            trial = self._open.get(number)
            if trial is not None:
                trial.report(value, step)

    def should_prune(self, number: int) -> bool:
        """Whether a trial falls behind."""
        with self._lock, quiet():
            trial = self._open.get(number)
            return self.plan.prunes and trial is not None and bool(trial.should_prune())

    def tell(self, outcome: Outcome) -> None:
        """Take how a trial ended. A cancelled one is put in line again."""
        with self._lock, quiet():
            trial = self.study.get_trials(deepcopy=False)[outcome.number]
            if trial.state.is_finished():
                return
            if outcome.state == "cancelled":
                self._repeat(trial)
            if outcome.error:
                self._note(trial, _ERROR, outcome.error[:2000])
            if outcome.state == "succeeded":
                self.study.tell(outcome.number, list(outcome.values))
            else:
                self.study.tell(outcome.number, state=State.PRUNED if outcome.state == "pruned" else State.FAIL)
            self._open.pop(outcome.number, None)
            self._journal.sync()

    def left(self) -> list[tuple[int, str | None]]:
        """Trials that were running when a tuner was killed: number, and id of the run if it was chosen already."""
        with self._lock:
            trials = self.study.get_trials(deepcopy=False, states=(State.RUNNING,))
            return [(trial.number, trial.user_attrs.get(_RUN)) for trial in trials if trial.number not in self._open]

    def exhausted(self) -> bool:
        """Whether every point of a grid has had its trial."""
        with self._lock:
            return bool(self._grid) and not self.waiting() and len(self._places()) == len(self._grid)

    def waiting(self) -> int:
        """How many trials stand in line."""
        with self._lock:
            return len(self.study.get_trials(deepcopy=False, states=(State.WAITING,)))

    def begun(self) -> int:
        """Trials that count: ended ones and running ones, without those that were interrupted."""
        with self._lock:
            trials = self.study.get_trials(deepcopy=False)
            return sum(trial.state != State.WAITING and not trial.user_attrs.get(_INTERRUPTED) for trial in trials)

    def rows(self) -> list[TrialRow]:
        """Every trial that has begun, by number."""
        with self._lock:
            return rows_of(self.study.get_trials(deepcopy=False), self.plan, self.space)

    def row(self, number: int) -> TrialRow:
        """One trial."""
        with self._lock:
            return rows_of([self.study.get_trials(deepcopy=False)[number]], self.plan, self.space)[0]

    def labels(self, number: int) -> dict[str, Any]:
        """Labels of a trial's params, as its run has them."""
        with self._lock:
            return dict(self.study.get_trials(deepcopy=False)[number].params)

    def best(self) -> list[int]:
        """Number of the best trial; with several metrics those that no other beats in all."""
        with self._lock:
            done = self.study.get_trials(deepcopy=False, states=(State.COMPLETE,))
            if not done:
                return []
            return [trial.number for trial in (self.study.best_trials if len(self.plan.metrics) > 1 else [self.study.best_trial])]

    def importances(self) -> dict[str, dict[str, float]]:
        """By metric, each param's share of the variance it explains. Empty while there are too few trials to tell."""
        from optuna.importance import get_param_importances  # noqa: PLC0415 - only at the end

        found: dict[str, dict[str, float]] = {}
        with self._lock, quiet():
            for place, metric in enumerate(self.plan.metrics):
                several = len(self.plan.metrics) > 1
                try:
                    shares = get_param_importances(self.study, target=_value_at(place) if several else None)
                except (ValueError, RuntimeError):
                    continue  # fewer than two trials, or none differs
                if shares:
                    found[metric] = {name: float(share) for name, share in shares.items()}
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._journal.close()

    def _places(self) -> set[int]:
        """Points of the grid that have a trial."""
        return {trial.user_attrs[_PLACE] for trial in self.study.get_trials(deepcopy=False) if _PLACE in trial.user_attrs}

    def _repeat(self, trial: FrozenTrial) -> None:
        """Put an interrupted trial in line again, unless a tuner that was killed meanwhile has done so; then mark it."""
        trials = self.study.get_trials(deepcopy=False)
        whole = set(trial.params) == set(self.space)
        if whole and not any(other.user_attrs.get(_OF) == trial.number for other in trials):
            seed = trial.user_attrs.get(_SEED, derived(self.plan.seed, trial.number))
            self.study.enqueue_trial(dict(trial.params), user_attrs={_OF: trial.number, _SEED: seed})
        self._note(trial, _INTERRUPTED, value=True)

    def _note(self, trial: FrozenTrial, key: str, value: Any) -> None:
        self.study._storage.set_trial_user_attr(trial._trial_id, key, value)  # noqa: SLF001 - Optuna's own way for a trial that nobody holds


def rows_of(trials: Sequence[FrozenTrial], plan: Plan, space: Space) -> list[TrialRow]:
    """Rows of trials that have begun."""
    return [
        TrialRow(
            number=trial.number,
            state="cancelled" if trial.user_attrs.get(_INTERRUPTED) else _STATES[trial.state],
            values=_values(trial, len(plan.metrics)), params=values_of(space, trial.params), run=trial.user_attrs.get(_RUN, ""),
            started_at=trial.datetime_start and trial.datetime_start.astimezone(), error=trial.user_attrs.get(_ERROR, ""),
            ended_at=trial.datetime_complete and trial.datetime_complete.astimezone(),
        )
        for trial in trials
        if trial.state != State.WAITING
    ]  # fmt: skip


def derived(seed: int, number: int) -> int:
    """A seed made of a sweep's seed and a trial's number.

    >>> derived(7, 0) != derived(7, 1)
    True
    """
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _study(storage: JournalStorage, plan: Plan, pruner: Any) -> Study:
    from optuna.study import StudyDirection  # noqa: PLC0415 - with what needs it

    try:
        storage.get_study_id_from_name(_NAME)
    except KeyError:
        directions = [StudyDirection.MINIMIZE if direction == "minimize" else StudyDirection.MAXIMIZE for direction in plan.directions]
        _create(storage, directions)
    return Study(_NAME, storage, pruner=pruner)


def _create(storage: JournalStorage, directions: list[Any]) -> None:
    import optuna  # noqa: PLC0415 - its loudness only

    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage.create_new_study(directions, _NAME)
    finally:
        optuna.logging.set_verbosity(loud)


def distribution_of(ranged: Range) -> BaseDistribution:
    """A range in Optuna's words."""
    with quiet():
        if isinstance(ranged, Choice):
            return CategoricalDistribution(ranged.labels)
        if isinstance(ranged, Int):
            return IntDistribution(ranged.low, ranged.high, log=ranged.log, step=ranged.step)
        return FloatDistribution(ranged.low, ranged.high, log=ranged.log, step=ranged.step)


def _values(trial: FrozenTrial, count: int) -> tuple[float | None, ...]:
    return tuple(trial.values) if trial.values is not None else (None,) * count


def _value_at(place: int) -> Any:
    return lambda trial: trial.values[place]
