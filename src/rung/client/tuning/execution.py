"""Executing one trial: a run of its own below the sweep's run, the objective in it, and how it ended written down."""

from __future__ import annotations

import math
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any

from rung.client.active import ActiveRun, enter
from rung.client.client import Client
from rung.client.endings import Status, watch
from rung.client.opening import Start, opened
from rung.client.tuning import records as r
from rung.client.tuning.folder import Folder
from rung.client.tuning.objectives import Objective, called
from rung.client.tuning.space import Space, values_of
from rung.client.tuning.trial import Judge, Pruned, Trial
from rung.core.errors import Conflict, RungError, Unavailable

_TOLD_TO_END = {128 + signal.SIGTERM, 128 + signal.SIGINT}
STATUS: dict[r.State, Status] = {"succeeded": "succeeded", "pruned": "cancelled", "failed": "failed", "cancelled": "cancelled"}


def execute(
    asked: r.Asked,
    plan: r.Plan,
    space: Space,
    objective: Objective,
    judge: Judge,
    *,
    client: Client | None,
    folder: Folder,
    worker: int = 0,
) -> r.Outcome:
    """How a trial ended. Whatever the objective raises is in the outcome; only the end of the process goes through."""
    try:
        run = open_run(asked, plan, client)
    except RungError as error:
        return r.Outcome(number=asked.number, run=asked.run, state="failed", error=f"The run was not opened: {error}", left_open=True)
    watch(run)
    enter(run)
    trial = Trial(asked, values_of(space, asked.labels), run, plan, judge, worker)
    run.heard = trial.hear
    outcome, ending = _called(objective, trial, asked)
    if ending is not None:
        close_run(run, outcome)
        raise ending
    with suppress(Conflict):  # the objective may have closed the run itself
        _log_values(run, trial, plan, outcome)
    if outcome.state != "cancelled":
        folder.keep(outcome)
    close_run(run, outcome)
    return outcome


def open_run(asked: r.Asked, plan: r.Plan, client: Client | None) -> ActiveRun:
    """The run of a trial; offline while the platform is away, so that a sweep goes on."""
    tags: dict[str, Any] = {r.KIND: r.TRIAL, r.NUMBER: asked.number, r.STATE: "running"}
    if asked.repeats is not None:
        tags[r.REPEATS] = asked.repeats
    start = Start(
        experiment=plan.experiment, name=f"{plan.name}-{asked.number}" if plan.name else f"trial-{asked.number}", params=asked.labels, tags=tags,
        seeds={"trial": asked.seed}, datasets=(), parent=plan.id, run_id=asked.run, resume=None,
    )  # fmt: skip
    try:
        return opened(client, start)
    except Unavailable as error:
        sys.stderr.write(f"rung: trial {asked.number} is kept offline: {error}\n")
        return opened(None, start)


def close_run(run: ActiveRun, outcome: r.Outcome) -> None:
    """Close a trial's run, with its state as a tag; what the platform refuses is told, and is not the trial's failure."""
    run.heard = None
    if run.closed:
        return
    try:
        run.set_tags({r.STATE: outcome.state})
    except RungError as error:
        sys.stderr.write(f"rung: trial {outcome.number} was not tagged: {error}\n")
    try:
        run.finish(STATUS[outcome.state], outcome.error)
    except RungError as error:
        sys.stderr.write(f"rung: run {run.id} of trial {outcome.number} was not closed cleanly: {error}\n")


def _called(objective: Objective, trial: Trial, asked: r.Asked) -> tuple[r.Outcome, BaseException | None]:
    """Call the objective; the exception, if any, that must end the process."""

    def ended(state: r.State, *, values: tuple[float, ...] = (), error: str = "") -> r.Outcome:
        return r.Outcome(number=asked.number, run=asked.run, state=state, values=values, error=error, steps=trial.steps)

    try:
        values = trial.result(called(objective, trial))
    except Pruned as error:
        return ended("pruned", error=str(error)), None
    except KeyboardInterrupt as error:
        return ended("cancelled", error="It was interrupted."), error
    except SystemExit as error:
        if error.code in _TOLD_TO_END:
            return ended("cancelled", error="The process was told to end."), error
        return ended("failed", error=f"The objective called sys.exit({error.code!r})."), None
    except Exception as error:  # an objective may raise anything: that is its trial's failure, not the sweep's
        return ended("failed", error=_told(error)), None
    if any(math.isnan(value) for value in values):
        return ended("failed", error=f"The objective's value is {values[0] if len(values) == 1 else values}."), None
    return ended("succeeded", values=values), None


def _log_values(run: ActiveRun, trial: Trial, plan: r.Plan, outcome: r.Outcome) -> None:
    """Log what the objective returned and has not logged, so that the run's latest value is the trial's."""
    run.heard = None
    for name, value in zip(plan.metrics, outcome.values, strict=False):
        logged = trial.last.get(name)
        if logged is None or logged[0] != value:
            run.log_metric(name, value, logged[1] if logged else 0)


def _told(error: BaseException) -> str:
    """The error with the lines that led to it, the last ones if they are many."""
    if isinstance(error, RungError):
        return str(error)[:8000]  # it says itself what is wrong
    text = "".join(traceback.format_exception(error, limit=-8))
    return f"{type(error).__name__}: {error}\n\n{text}"[:8000].replace("\0", "")
