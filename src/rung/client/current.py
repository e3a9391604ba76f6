"""The fluent functions: ``rung.start_run`` and what logs to the run that is open here, in this thread of control.

Metrics gather in a buffer that a background thread empties twice a second, so logging never waits for the platform;
leaving the run, or ``flush``, waits until all of it has arrived. Inside a pipeline's step the step's run is the
current one, and every call arrives before the function returns.
"""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from pathlib import Path
from types import TracebackType
from typing import Literal

from rung.client.client import Client, connect
from rung.core.clock import SystemClock
from rung.core.errors import Conflict, RungError
from rung.core.references import DatasetUse
from rung.pipelines.context import current_step
from rung.tracking.records import Artifact, MetricPoint, ParamValue, Run

_FLUSH_S = 0.5
_BATCH = 1000
_clock = SystemClock()


class ActiveRun:
    """An open run; as a context manager it closes itself, ``failed`` when the block raises."""

    def __init__(self, client: Client, run_id: str, *, owned: bool) -> None:
        self.client = client
        self.id = run_id
        self._owned = owned
        self._points: list[MetricPoint] = []
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._failure: RungError | None = None
        self._thread: threading.Thread | None = None
        self._token: Token[ActiveRun | None] | None = None

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Write params, once each. Raises Conflict for one that has another value."""
        self.client.tracking.log(self.id, params=params)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log values at a step; they arrive within half a second."""
        at = _clock.now()
        with self._lock:
            self._points += [MetricPoint(key=key, value=float(value), step=step, at=at) for key, value in metrics.items()]
            full = len(self._points) >= _BATCH
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_on, name="rung-metrics", daemon=True)
            self._thread.start()
            atexit.register(self._at_exit)
        if full:
            self._wake.set()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self.client.tracking.log(self.id, tags=tags)

    def log_datasets(self, datasets: Sequence[DatasetUse]) -> None:
        """Say which dataset versions went in."""
        self.client.tracking.log(self.id, datasets=datasets)

    def log_artifact(self, source: Path | str | bytes, path: str | None = None) -> Artifact:
        """Store a file or bytes as an output."""
        return self.client.tracking.log_artifact(self.id, source, path)

    def flush(self) -> None:
        """Wait until every metric has arrived. Raises what the platform answered to one that could not be kept."""
        self._send()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def finish(self, status: Literal["succeeded", "failed", "cancelled"] = "succeeded", error: str = "") -> Run:
        """Flush, and close the run if it was opened here."""
        self._closed = True
        self._wake.set()
        self.flush()
        atexit.unregister(self._at_exit)
        return self.client.tracking.finish(self.id, status, error=error) if self._owned else self.client.tracking.get(self.id)

    def __enter__(self) -> ActiveRun:
        self._token = _current.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._token = None
        if kind is None:
            self.finish()
        else:
            cancelled = issubclass(kind, KeyboardInterrupt)
            self.finish("cancelled" if cancelled else "failed", error=f"{kind.__name__}: {error}"[:10_000])

    def _repr_html_(self) -> str:
        self.flush()
        return self.client.tracking.get(self.id)._repr_html_()

    def _send_on(self) -> None:
        while not self._closed:
            self._wake.wait(_FLUSH_S)
            self._wake.clear()
            try:
                self._send()
            except RungError as error:
                self._failure = error  # told by the next flush, in the thread that can answer it

    def _at_exit(self) -> None:
        try:
            self.flush()
        except RungError as error:
            sys.stderr.write(f"rung: metrics of run {self.id} were not kept: {error}\n")

    def _send(self) -> None:
        with self._sending:
            while True:
                with self._lock:
                    points, self._points = self._points[:_BATCH], self._points[_BATCH:]
                if not points:
                    return
                try:
                    self.client.tracking.log(self.id, metrics=points)
                except RungError as error:
                    if error.kind == "unavailable":
                        with self._lock:
                            self._points = points + self._points  # kept for the next try
                    raise


_current: ContextVar[ActiveRun | None] = ContextVar("rung_current_run", default=None)
_clients: dict[str, Client] = {}


def start_run(
    experiment: str = "default",
    name: str = "",
    *,
    params: Mapping[str, ParamValue] | None = None,
    tags: Mapping[str, str] | None = None,
    seeds: Mapping[str, int] | None = None,
    datasets: Sequence[DatasetUse] = (),
    client: Client | None = None,
) -> ActiveRun:
    """Open a run; in a ``with`` block it is the current one. A run opened inside another is its child."""
    outer = _current.get()
    asked = client or (outer.client if outer else _client())
    parent = outer.id if outer else None
    run = asked.tracking.start(experiment, name=name, params=params, tags=tags, seeds=seeds, datasets=datasets, parent=parent)
    return ActiveRun(asked, run.id, owned=True)


def current_run() -> ActiveRun:
    """The run that is open here: the innermost ``with start_run`` block, else the running step's. Raises Conflict."""
    found = _current.get()
    if found is not None:
        return found
    step = current_step.get()
    if step is None or step.run_id is None:
        raise Conflict("No run is open here.", code="tracking.no_current_run", hint="Open one: `with rung.start_run():`.")
    return ActiveRun(_client(), step.run_id, owned=False)


def log_param(key: str, value: ParamValue) -> None:
    """Write one param of the current run."""
    log_params({key: value})


def log_params(params: Mapping[str, ParamValue]) -> None:
    """Write params of the current run, once each."""
    current_run().log_params(params)


def log_metric(key: str, value: float, step: int = 0) -> None:
    """Log one value of a metric of the current run."""
    log_metrics({key: value}, step)


def log_metrics(metrics: Mapping[str, float], step: int = 0) -> None:
    """Log values of the current run at a step."""
    run = current_run()
    if run is _current.get():
        run.log_metrics(metrics, step)
    else:  # a step's run: nobody would wait for a buffer at the step's end
        run.client.tracking.log(run.id, metrics=metrics, step=step)


def set_tag(key: str, value: str) -> None:
    """Set one tag of the current run."""
    set_tags({key: value})


def set_tags(tags: Mapping[str, str]) -> None:
    """Set tags of the current run."""
    current_run().set_tags(tags)


def log_dataset(dataset: str, number: int, role: Literal["input", "train", "test", "reference"] = "input") -> None:
    """Say that a dataset version went into the current run."""
    current_run().log_datasets([DatasetUse(dataset=dataset, number=number, role=role)])


def log_artifact(source: Path | str | bytes, path: str | None = None) -> Artifact:
    """Store a file or bytes as an output of the current run."""
    return current_run().log_artifact(source, path)


def flush() -> None:
    """Wait until every metric of the current run has arrived."""
    current_run().flush()


def current_run_id() -> str | None:
    """Id of the current run, None when none is open."""
    found = _current.get()
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
    found = _current.get()
    return found.client if found else _client()


def _client() -> Client:
    """The running step's client, else one for this process's settings, opened once."""
    step = current_step.get()
    if step is not None and step.transport is not None:
        return Client(step.transport)
    key = str(Path.cwd())
    if key not in _clients:
        _clients[key] = connect()
    return _clients[key]
