"""The fluent functions: ``rung.start_run`` and what logs to the run that is open here, in this thread of control.

Inside a pipeline's step the step's run is the current one, and every call arrives before the function returns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rung.client.active import ActiveRun, current, enter, open_runs
from rung.client.client import Client, connect
from rung.client.endings import Status, watch
from rung.client.opening import Start, joined, opened
from rung.core.errors import Conflict
from rung.core.references import DatasetUse
from rung.core.settings import load_settings
from rung.pipelines.context import current_step
from rung.tracking.records import Artifact, Run

RUN_VARIABLE = "RUNG_RUN"
_clients: dict[tuple[str, str], Client] = {}  # by folder, and project of a step
_given: dict[str, ActiveRun] = {}
_opening = threading.RLock()


def _forked() -> None:
    """Connections do not survive a fork, nor does a lock that a thread of the parent held."""
    global _opening  # noqa: PLW0603 - a lock a process
    _opening = threading.RLock()
    _clients.clear()


os.register_at_fork(after_in_child=_forked)


def start_run(
    experiment: str = "default",
    name: str = "",
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    seeds: Mapping[str, int] | None = None,
    datasets: Sequence[DatasetUse] = (),
    run_id: str | None = None,
    resume: str | None = None,
    offline: bool | None = None,
    capture_output: bool = False,
    system_metrics: bool | None = None,
    client: Client | None = None,
) -> ActiveRun:
    """Open a run and make it the current one, until its ``with`` block or ``rung.end_run()`` closes it.

    A run opened inside another is its child. In a command that ``rung tune`` runs, the outermost one is the trial's run. What is still open when the process ends is closed: ``succeeded``, after
    an exception ``failed``, after SIGTERM or Ctrl-C ``cancelled``.

    Args:
        experiment: made on first use.
        run_id: go on with the run of this id, or open it when there is none: for jobs that may be started again.
        resume: go on with a run, by its id or as ``experiment:12``.
        offline: keep everything in the spool until ``rung sync``; default RUNG_OFFLINE.
        capture_output: keep what is printed as the artifact ``logs/output.txt``.
        system_metrics: log how busy the machine is while the run is open; default RUNG_SYSTEM_METRICS.

    Raises:
        Unavailable: the platform does not answer; an offline run needs none.
        NotFound: there is no run to resume.
    """
    outer = _found()
    if outer is None and not (run_id or resume or offline or client) and os.environ.get(RUN_VARIABLE):
        return _given_run(params or {}, tags or {})
    if offline is None:
        offline = load_settings().offline if client is None else False
    asked = None if offline else client or (outer.client if outer and not outer.offline else _client())
    start = Start(
        experiment=experiment, name=name, params=params or {}, tags=tags or {}, seeds=seeds or {}, datasets=tuple(datasets),
        parent=outer.id if outer else None, run_id=run_id, resume=resume,
    )  # fmt: skip
    run = opened(asked, start)
    enter(run)
    watch(run)
    if capture_output:
        from rung.client.output import capture  # noqa: PLC0415 - only where it is asked for

        capture(run)
    if load_settings().system_metrics if system_metrics is None else system_metrics:
        from rung.client.system import log_system_metrics  # noqa: PLC0415 - it imports this module

        log_system_metrics(run=run)
    return run


def end_run(status: Status = "succeeded", error: str = "") -> Run | None:
    """Close the innermost run opened here, waiting for what was logged. None when it waits in the spool. Raises Conflict."""
    found = current.get()
    if found is None:
        raise Conflict("No run is open here.", code="tracking.no_current_run", hint="`rung.start_run()` opens one.")
    return found.finish(status, error)


def join_run(run_id: str) -> ActiveRun:
    """A run that another process opened, to log to it from here; leaving it does not close it."""
    return joined(_client(), run_id)


def current_run() -> ActiveRun:
    """The run that is open here: the innermost one opened in this thread of control, else the running step's, else the only one
    of this process. Raises Conflict."""
    found = _found()
    if found is not None:
        return found
    step = current_step.get()
    if step is not None and step.run_id is not None:
        return ActiveRun(_client(), step.run_id, None, owned=False)
    if os.environ.get(RUN_VARIABLE):
        return _given_run({}, {})
    candidates = open_runs()
    if len(candidates) == 1:  # a thread of a pool begins without its starter's context
        return candidates[0]
    if candidates:
        raise Conflict(
            f"{len(candidates)} runs are open in this process, and none in this thread.", code="tracking.no_current_run",
            hint="Say which: `with run:` in the thread, or run.log_metric(…).",
        )  # fmt: skip
    raise Conflict("No run is open here.", code="tracking.no_current_run", hint="Open one: `with rung.start_run():`.")


def active_run() -> ActiveRun | None:
    """The run that is open here, None when none is."""
    try:
        return current_run()
    except Conflict:
        return None


def log_param(key: str, value: Any) -> None:
    """Write one param of the current run."""
    log_params({key: value})


def log_params(params: Mapping[str, Any]) -> None:
    """Write params of the current run, once each."""
    current_run().log_params(params)


def log_metric(key: str, value: float, step: int = 0) -> None:
    """Log one value of a metric of the current run."""
    run = current.get()
    if run is None or run.closed:
        run = current_run()
    run.log_metric(key, value, step)


def log_metrics(metrics: Mapping[str, float], step: int = 0) -> None:
    """Log values of the current run at a step: all of them, or none when one is no number."""
    current_run().log_metrics(metrics, step)


def set_tag(key: str, value: Any) -> None:
    """Set one tag of the current run."""
    set_tags({key: value})


def set_tags(tags: Mapping[str, Any]) -> None:
    """Set tags of the current run."""
    current_run().set_tags(tags)


def log_dataset(dataset: str, number: int, role: Literal["input", "train", "test", "reference"] = "input") -> None:
    """Say that a dataset version went into the current run."""
    current_run().log_datasets([DatasetUse(dataset=dataset, number=number, role=role)])


def log_artifact(source: Path | str | bytes, path: str | None = None) -> Artifact:
    """Store a file or bytes as an output of the current run."""
    return current_run().log_artifact(source, path)


def flush() -> None:
    """Wait until everything logged to the current run has arrived."""
    current_run().flush()


def current_run_id() -> str | None:
    """Id of the current run, None when none is open."""
    found = _found()
    if found is not None:
        return found.id
    step = current_step.get()
    return step.run_id if step else None


def current_pipeline_run_id() -> str | None:
    """Id of the pipeline run whose step runs here, None outside of one."""
    step = current_step.get()
    return step.pipeline_run if step else None


def current_client() -> Client:
    """The client of the current run, or of the running step, else one for this process's settings."""
    found = _found()
    return found.client if found else _client()


def _found() -> ActiveRun | None:
    """The run opened in this context, or its nearest one around that is still open."""
    found = current.get()
    while found is not None and found.closed:
        found = found.outer
    return found


def _given_run(params: Mapping[str, Any], tags: Mapping[str, Any]) -> ActiveRun:
    """The run that whoever started this process opened for it, and closes; what is logged is sent before this process ends."""
    run_id = os.environ[RUN_VARIABLE]
    run = _given.get(run_id)
    if run is None or run.closed:
        run = _given[run_id] = joined(_client(), run_id)
        watch(run)
    enter(run)
    if params:
        known = run.client.tracking.get(run_id).params
        run.log_params({key: value for key, value in params.items() if key not in known})
    if tags:
        run.set_tags(tags)
    return run


def _client() -> Client:
    """The running step's client, else one for this process's settings, opened once."""
    step = current_step.get()
    if step is not None and step.transport is not None:
        return Client(step.transport)
    key = (str(Path.cwd()), step.project if step is not None else "")
    found = _clients.get(key)
    if found is None:
        with _opening:  # threads that come first together share one: a second would stay open beside it
            found = _clients.get(key) or connect()
            _clients[key] = found
    return found
