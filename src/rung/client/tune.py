"""``rung.tune``: search a space of params for the best value of a metric, each trial a run below the sweep's run."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from rung.client import scalars
from rung.client.active import ActiveRun, enter
from rung.client.client import Client
from rung.client.current import current_client, current_run_id
from rung.client.endings import Status, status_of, watch
from rung.client.opening import Start, opened
from rung.client.tuning import records as r
from rung.client.tuning.command import Command
from rung.client.tuning.crews import Work
from rung.client.tuning.folder import Folder
from rung.client.tuning.objectives import Objective, asked_by_name, is_loading, load, name_of
from rung.client.tuning.places import folder_of, latest, start_of
from rung.client.tuning.space import described, grid_of, space_of
from rung.client.tuning.strategies import GRID, optuna, pruner_of, sampler_maker
from rung.client.tuning.strategies import name_of as strategy_name
from rung.client.tuning.sweep import Sweep, find, sweep_of
from rung.client.tuning.tuner import Limits, Listener, Tuner, crew_for, finish
from rung.core.clock import SystemClock
from rung.core.errors import Conflict, Invalid
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.core.settings import load_settings

METRIC = "objective"
TRIALS = 20
_clock = SystemClock()


def tune(
    objective: Objective | str | None,
    space: Mapping[str, Any] | None = None,
    *,
    metric: str | Sequence[str] | None = None,
    direction: str | Sequence[str] | None = None,
    trials: int | None = None,
    seconds: float | None = None,
    workers: int = 1,
    threads: bool = False,
    sampler: Any = None,
    pruner: Any = None,
    name: str = "",
    experiment: str = "default",
    seed: int | None = None,
    failures: int = 5,
    resume: str | bool = False,
    offline: bool | None = None,
    listener: Listener | None = None,
    client: Client | None = None,
) -> Sweep:
    """Search a space for the best value of a metric; a sweep with its trials.

    Args:
        objective: called with a ``rung.Trial`` for each point; returns the metric's value, or logs it. Or ``"train.py:objective"``.
        space: by name ``rung.Int(2, 10)``, ``rung.Float(1e-4, 0.1, log=True)``, ``rung.Choice("a", "b")``, or a list of options.
        metric: what is sought, default ``objective``; several for a search of trade-offs.
        direction: ``minimize``, the default, or ``maximize``; one a metric.
        trials: how many there are to be in all, those before a resume included; default 20, or no bound with ``seconds``.
        seconds: begin no trial later than that.
        workers: trials at a time. One works in this process, several in processes of their own, or with ``threads`` in threads.
        sampler: ``tpe``, the default, ``random``, ``grid``, ``cmaes``, ``qmc``, ``gp``, ``nsga2``, or an Optuna sampler.
        pruner: ``median``, the default, ``hyperband``, ``asha``, ``none``, or an Optuna pruner.
        seed: with one worker the same seed gives the same trials.
        failures: so many failing trials in a row end the sweep.
        resume: go on with a sweep, by its run's id or as ``experiment:12``; True: with the last one of this experiment and name.
        offline: keep everything in the spool until ``rung sync``; default RUNG_OFFLINE.
        listener: called with each trial that ended.

    Raises:
        Invalid: a space, sampler, pruner, direction or objective that makes no sense.
        Conflict: too many trials failed in a row; or another process goes on with the sweep.
        Unavailable: Optuna is not installed, or the platform does not answer.
    """
    reached = _place(client, offline=offline)
    asked = _Asked(metric, direction, sampler, pruner, trials, seconds)
    folder = _found(reached, resume, experiment, name)
    if folder is None:
        plan = asked.plan(space, name, experiment, seed, offline=reached is None, objective=objective)
    else:
        plan = replaced(asked.checked(folder.plan(), space), offline=reached is None)
    called, reference = _objective(objective, plan)
    asked_by_name(called, plan.space)
    crew = _Crew(_bound("workers", workers), threads or isinstance(called, Command), reference, listener)
    limits = Limits(trials=asked.bound(plan), seconds=_bound("seconds", seconds), failures=_bound("failures", failures) or 1)
    asked.check(plan)
    if folder is None:
        folder = folder_of(reached, plan.id)
        folder.create(plan)
    return _swept(folder, plan, asked, space, called, reached, crew, limits)


def get_sweep(sweep: str, *, client: Client | None = None) -> Sweep:
    """A sweep by its run's id or as ``experiment:12``, also while it goes on. Raises NotFound."""
    asked = client or current_client()
    return sweep_of(asked, find(asked, sweep))


def stop_sweep(sweep: str, *, client: Client | None = None) -> Sweep:
    """Ask a sweep to begin no more trials; those that go on are finished. Raises NotFound, Conflict when it has ended."""
    asked = client or current_client()
    run = find(asked, sweep)
    if run.status != "running":
        raise Conflict(f"Sweep {sweep} has ended: {run.status}.", code="tuning.ended", hint="There is nothing to stop.")
    asked.tracking.log(run.id, tags={r.STOP: "asked"})
    return sweep_of(asked, run)


def _run(work: Work, limits: Limits, lock: int, crew: _Crew) -> Status:
    """Open the sweep's run, tune in it, close it; how it ended."""
    run = _opened(work)
    watch(run)
    enter(run)
    tuner = Tuner(work, run, limits, crew.listener)
    status: Status = "succeeded"
    error = ""
    try:
        tuner.recover()
        tuner.go(crew_for(work, crew.workers, lock, threads=crew.threads, reference=crew.reference))
        if tuner.stopped:
            status, error = "cancelled", "It was asked to stop."
        elif not work.ledger.best():
            status, error = "failed", "No trial succeeded."
    except BaseException as problem:
        status, error = status_of(problem)
        raise
    finally:
        finish(tuner, status, error)
    return status


def _opened(work: Work) -> ActiveRun:
    plan, client = work.plan, work.client
    fresh = not work.ledger.begun()
    tags = {
        r.KIND: r.SWEEP, r.METRIC: ", ".join(plan.metrics), r.DIRECTION: ", ".join(plan.directions), r.SAMPLER: plan.sampler,
        r.PRUNER: plan.pruner,
    }  # fmt: skip
    params = {"sampler": plan.sampler, "pruner": plan.pruner} if fresh else {}
    start = Start(
        experiment=plan.experiment, name=plan.name, params=params, tags=tags, seeds={"sweep": plan.seed}, datasets=(),
        parent=current_run_id(), run_id=plan.id, resume=None,
    )  # fmt: skip
    run = opened(client, start)
    if client is not None and run.known is not None and r.STOP in run.known.tags:
        client.tracking.delete_tag(run.id, r.STOP)
    if fresh:
        run.log_artifact(msgspec.json.format(msgspec.json.encode(plan.space), indent=2), r.SPACE_FILE)
    return run


@dataclass(frozen=True)
class _Crew:
    """Who works on a sweep, and who is told."""

    workers: int
    threads: bool
    reference: str
    listener: Listener | None


def _place(client: Client | None, *, offline: bool | None) -> Client | None:
    """The platform that a sweep is kept by; None for the spool alone. Raises Invalid while an objective is loaded, Unavailable."""
    if is_loading():
        raise Invalid(
            "The script of an objective begins a sweep while it is loaded.", code="tuning.nested",
            hint="Put the call of rung.tune below `if __name__ == '__main__':`.",
        )  # fmt: skip
    optuna()
    if offline is None:
        offline = load_settings().offline if client is None else False
    return None if offline else client or current_client()


def _swept(
    folder: Folder, plan: r.Plan, asked: _Asked, space: Mapping[str, Any] | None, called: Objective, client: Client | None, crew: _Crew,
    limits: Limits,
) -> Sweep:  # fmt: skip
    """Tune, alone with the folder of the sweep. Raises Conflict when another process goes on with it."""
    lock = folder.lock()
    try:
        from rung.client.tuning.ledger import Ledger  # noqa: PLC0415 - Optuna is an extra, and most of a second to load

        ranges = space_of(space if space is not None else plan.space)
        sampler, pruner = asked.sampler or plan.sampler, asked.pruner or plan.pruner
        ledger = Ledger(folder, plan, ranges, sampler=sampler, pruner=pruner, workers=crew.workers)
        try:
            work = Work(plan=plan, ledger=ledger, folder=folder, objective=called, client=client)
            return Sweep(client, plan.id, _run(work, limits, lock, crew), plan.metrics, plan.directions, ledger.rows())
        finally:
            ledger.close()
    finally:
        folder.unlock()


class _Asked:
    """What a caller gave for a sweep; None where nothing was."""

    def __init__(self, metric: Any, direction: Any, sampler: Any, pruner: Any, trials: int | None, seconds: float | None) -> None:
        self.metrics = None if metric is None else (metric,) if isinstance(metric, str) else tuple(metric)
        self.directions: Any = None if direction is None else (direction,) if isinstance(direction, str) else tuple(direction)
        self.sampler = sampler
        self.pruner = pruner
        self.trials = trials
        self.timed = seconds is not None

    def plan(
        self, space: Mapping[str, Any] | None, name: str, experiment: str, seed: int | None, *, offline: bool, objective: Any
    ) -> r.Plan:
        """A new sweep. Raises Invalid."""
        metrics = self.metrics or (METRIC,)
        directions: Any = self.directions or ("minimize",) * len(metrics)
        _check_metrics(metrics, directions)
        if space is None:
            raise Invalid("There is no space.", code="tuning.bad_space", hint="Give one: {'lr': rung.Float(1e-4, 0.1, log=True)}.")
        ranges = space_of(space)
        if self.sampler == GRID:
            grid_of(ranges)
        several = len(metrics) > 1
        if several and self.pruner not in {None, "none"}:
            raise Invalid(
                f"Nothing can be pruned by {len(metrics)} metrics.", code="tuning.bad_pruner", hint="Leave pruner out, or seek one metric."
            )
        pruner = "none" if several else "median" if self.pruner is None else strategy_name(self.pruner)
        return r.Plan(
            id=new_id(), experiment=experiment, name=name, metrics=metrics, directions=directions, space=described(ranges),
            sampler="tpe" if self.sampler is None else strategy_name(self.sampler), pruner=pruner, prunes=pruner != "none",
            seed=secrets.randbits(31) if seed is None else _seed(seed), created_at=_clock.now(), offline=offline,
            objective=name_of(objective) if objective else "", command=objective.words if isinstance(objective, Command) else (),
            trials=_bound("trials", self.trials) if self.trials is not None else None if self.timed else TRIALS,
        )  # fmt: skip

    def bound(self, plan: r.Plan) -> int | None:
        """How many trials there are to be; None where only the time is bounded. Raises Invalid."""
        return plan.trials if self.trials is None and not self.timed else _bound("trials", self.trials)

    def check(self, plan: r.Plan) -> None:
        """See that sampler and pruner can be made. Raises Invalid, Unavailable."""
        sampler_maker(self.sampler or plan.sampler, plan.seed, several=len(plan.metrics) > 1, parallel=False)
        pruner_of(self.pruner or plan.pruner)

    def checked(self, plan: r.Plan, space: Mapping[str, Any] | None) -> r.Plan:
        """The plan of a sweep to go on with. Raises Invalid when what is given now is another sweep."""
        given = {
            "metric": (self.metrics, plan.metrics), "direction": (self.directions, plan.directions),
            "sampler": (None if self.sampler is None else strategy_name(self.sampler), plan.sampler),
            "pruner": (None if self.pruner is None else strategy_name(self.pruner), plan.pruner),
            "space": (None if space is None else described(space_of(space)), plan.space),
        }  # fmt: skip
        for what, (now, then) in given.items():
            if now is not None and msgspec.json.encode(now) != msgspec.json.encode(then):
                raise Invalid(
                    f"The sweep {plan.id} was begun with the {what} {then!r}, not {now!r}.", code="tuning.other_sweep",
                    hint="Give the same, leave it out, or begin a new sweep.",
                )  # fmt: skip
        return replaced(plan, trials=self.trials) if self.trials is not None else plan


def _found(client: Client | None, resume: str | bool, experiment: str, name: str) -> Folder | None:  # noqa: FBT001 - an id, or yes
    """The folder of the sweep to go on with; None for a new one. Raises NotFound."""
    if isinstance(resume, str):
        return start_of(client, resume)
    return latest(client, experiment, name) if resume else None


def _objective(given: Objective | str | None, plan: r.Plan) -> tuple[Objective, str]:
    """The function, and the name it was given by."""
    if given is None and plan.command:
        return Command(plan.command, plan.metrics), ""
    if given is None:
        if not plan.objective:
            raise Invalid(
                "The sweep's objective is known to the script that began it only.", code="tuning.bad_objective",
                hint="Go on from there: rung.tune(objective, space, resume=…).",
            )  # fmt: skip
        given = plan.objective
    if isinstance(given, str):
        return load(given), given
    if not callable(given):
        raise Invalid(
            f"The objective is a {type(given).__name__}, which cannot be called.", code="tuning.bad_objective",
            hint="Give a function of a trial, or 'train.py:objective'.",
        )  # fmt: skip
    return given, ""


def _check_metrics(metrics: Sequence[str], directions: Sequence[str]) -> None:
    known = get_args(r.Direction)
    for metric in metrics:
        if ", " in scalars.name(metric):
            raise Invalid(f"Metric {metric!r} holds a comma and a space.", code="tuning.bad_metric", hint="Choose another name.")
    if not metrics or len(set(metrics)) != len(metrics):
        raise Invalid(f"The metrics are {metrics!r}.", code="tuning.bad_metric", hint="Name each once.")
    for direction in directions:
        if direction not in known:
            raise Invalid(f"There is no direction {direction!r}.", code="tuning.bad_direction", hint=f"Write {' or '.join(known)}.")
    if len(directions) != len(metrics):
        raise Invalid(
            f"{len(metrics)} metrics have {len(directions)} directions.", code="tuning.bad_direction", hint="Give one direction a metric."
        )


def _bound(what: str, value: Any) -> Any:
    """A limit above 0. Raises Invalid."""
    if value is None:
        return None
    whole = what != "seconds"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value > 0:
        raise Invalid(f"{what} is {value!r}.", code="tuning.bad_limit", hint=f"Give a {'whole ' if whole else ''}number above 0.")
    return value


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise Invalid(f"seed is {value!r}.", code="tuning.bad_limit", hint="Give a whole number from 0 on.")
    return value
