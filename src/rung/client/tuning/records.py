"""What a sweep's tuner and those who execute its trials tell each other, and what a sweep keeps on disk."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from rung.core.records import Count, Id, Instant, Record

Direction = Literal["minimize", "maximize"]
State = Literal["succeeded", "pruned", "failed", "cancelled"]
TrialState = Literal["running", "waiting", "succeeded", "pruned", "failed", "cancelled"]

# Tags by which a sweep's run and its trials' runs are known.
KIND = "rung.kind"
SWEEP, TRIAL = "sweep", "trial"
NUMBER, STATE, REPEATS = "rung.trial.number", "rung.trial.state", "rung.trial.repeats"
METRIC, DIRECTION, SAMPLER, PRUNER = "rung.sweep.metric", "rung.sweep.direction", "rung.sweep.sampler", "rung.sweep.pruner"
BEST_RUN, BEST_TRIAL, STOP, TRIALS = "rung.sweep.best", "rung.sweep.best_trial", "rung.sweep.stop", "rung.sweep.trials"
BEST_PREFIX = "best/"
IMPORTANCES, SPACE_FILE = "sweep/importances.parquet", "sweep/space.json"


class Plan(Record):
    """A sweep as it was asked for; lies beside its ledger as ``sweep.json``. ``id`` is the id of its run."""

    id: Id
    experiment: str
    name: str
    metrics: tuple[str, ...]
    directions: tuple[Direction, ...]
    space: dict[str, Any]
    sampler: str
    pruner: str
    seed: int
    created_at: Instant
    objective: str = ""
    command: tuple[str, ...] = ()
    offline: bool = False
    prunes: bool = False
    trials: Count | None = None


class Asked(Record):
    """A trial to execute: labels of its params, and the id its run is to have."""

    number: Count
    labels: dict[str, Any]
    run: Id
    seed: Count
    repeats: Count | None = None


class Outcome(Record):
    """How a trial ended. ``values`` are the metrics', in the plan's order; ``left_open``: its process may not have closed its run."""

    number: Count
    run: Id
    state: State
    values: tuple[float, ...] = ()
    error: str = ""
    steps: Count = 0
    left_open: bool = False


class TrialRow(Record):
    """One trial of a sweep, for tables."""

    number: Count
    state: TrialState
    values: tuple[float | None, ...]
    params: dict[str, Any]
    run: str
    started_at: Instant | None = None
    ended_at: Instant | None = None
    error: str = ""


class SweepSummary(Record):
    """A sweep for people and scripts. ``best`` holds the trials that no other beats."""

    id: str
    run: str
    name: str
    status: str
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    trials: dict[str, int]
    best: tuple[TrialRow, ...] = ()
    rows: tuple[TrialRow, ...] = ()


class Task(Record):
    """What a worker process needs before it takes trials; objective and space lie pickled in the sweep's folder."""

    plan: Plan
    folder: str
    path: tuple[str, ...]
    worker: Count


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: execute a trial."""

    asked: Asked


class Verdict(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: whether the trial it asked about should be pruned."""

    prune: bool


class Leave(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a worker: end."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: it has the objective."""


class Broken(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: it cannot get the objective."""

    error: str


class Reported(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: an intermediate value."""

    number: Count
    value: float
    step: int


class Question(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: should this trial be pruned?"""

    number: Count


class Done(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a worker: a trial ended."""

    outcome: Outcome


ToWorker = Begin | Verdict | Leave
FromWorker = Ready | Broken | Reported | Question | Done
