"""Steps as tasks of Dask: on the scheduler that the settings or DASK_SCHEDULER_ADDRESS name, else on workers started here.

Dask's workers are threads of a process, so each step runs in the worker's own pool of processes, where it can be ended.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from rung.core.errors import Unavailable
from rung.engine.executors.family import EXECUTORS, Outcome, Task
from rung.engine.handing import Handing
from rung.engine.remote import attempted, close_here, errand_for, outcome_of_reply, stop_here
from rung.storage.blobs import BlobStore

_DEEP = 4
_START_S = 60
_CLOSING_S = 60


@EXECUTORS.member("dask")
class Dask(Handing):
    """The executor that hands steps to Dask."""

    def __init__(self, blobs: BlobStore, width: int, settings: Any = None) -> None:
        super().__init__()
        self._blobs = blobs
        self._width = width
        self._futures: dict[str, Any] = {}
        self._cancelled: set[str] = set()
        self._cluster: Any = None
        self._address: str = settings.engine.dask_address if settings is not None else ""
        self._client: Any = None

    @property
    def slots(self) -> int:
        """A few tasks for each thread that the workers have now."""
        if not self._connected.is_set():
            return self._width
        workers = self._client.scheduler_info(n_workers=-1).get("workers", {}).values()
        return max(self._width, sum(int(worker["nthreads"]) for worker in workers) * _DEEP)

    def _withdraw(self, task: str) -> None:
        """Take the attempt from the queue, or end its process."""
        with self._lock:
            future = self._futures.get(task)
            if future is not None:
                self._cancelled.add(task)
        if future is None:
            return
        future.cancel()  # first, or it could begin behind the look for its process
        with suppress(Exception):  # a worker that has gone has stopped too
            self._client.run(stop_here, task, on_error="ignore")

    def close(self) -> None:
        """Cancel everything; workers that were started here end."""
        with self._lock:
            tasks = [*self._entering, *self._futures]
        for task in tasks:
            self.cancel(task)
        self._connecting.shutdown(wait=True, cancel_futures=True)
        if self._client is None:
            return
        shared = self._cluster is None  # then others may be at work on its workers
        with suppress(Exception):  # what cannot be reached has ended
            self._client.run(close_here, on_error="ignore", idle_only=shared)
        with suppress(TimeoutError):  # on a machine that stands still: what is left ends with this process
            self._client.close(timeout=_CLOSING_S)
        if self._cluster is not None:
            with suppress(TimeoutError):
                self._cluster.close(timeout=_CLOSING_S)

    def _connect(self) -> None:
        distributed = _imported()
        address = self._address or os.environ.get("DASK_SCHEDULER_ADDRESS", "")
        logging.getLogger("distributed").setLevel(logging.ERROR)
        try:
            if not address:
                from dask import config  # noqa: PLC0415 - comes with distributed

                with _own_environment(), config.set({"distributed.scheduler.allowed-failures": 0, "distributed.worker.daemon": False}):
                    self._cluster = distributed.LocalCluster(
                        n_workers=self._width,
                        threads_per_worker=1,
                        processes=True,
                        dashboard_address=None,
                        host="127.0.0.1",
                        memory_limit=0,
                    )
            self._client = distributed.Client(self._cluster or address, timeout=_START_S, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise Unavailable(
                f"The Dask scheduler at {address or 'this machine'} cannot be reached: {error}", code="engine.no_dask",
                hint="Check engine.dask_address, or DASK_SCHEDULER_ADDRESS.",
            ) from None  # fmt: skip

    def _hand_over(self, task: Task, done: Future[Outcome]) -> None:
        began = time.perf_counter()
        errand = errand_for(task, apart=True)
        key, resources = f"rung-{task.step}-{task.id}", dict(task.resources) or None
        future = self._client.submit(attempted, errand, key=key, pure=False, retries=0, resources=resources)
        with self._lock:
            self._futures[task.id] = future
        future.add_done_callback(lambda ended: self._ended(task, ended, done, began))

    def _ended(self, task: Task, future: Any, done: Future[Outcome], began: float) -> None:
        with self._lock:
            self._futures.pop(task.id, None)
            cancelled = task.id in self._cancelled
            self._cancelled.discard(task.id)
        wall_s, step = time.perf_counter() - began, f"Step {task.step!r}"
        try:
            if cancelled:
                done.set_result(Outcome("cancelled", error=f"{step} was cancelled.", wall_s=wall_s))
            elif future.status == "finished":
                done.set_result(outcome_of_reply(future.result(), task, self._blobs))
            elif future.status == "error" and not _is_death(future.exception()):
                error = future.exception()
                done.set_result(Outcome("failed", error=f"{step} could not begin: {type(error).__name__}: {error}", wall_s=wall_s))
            else:
                gone = f"{step} was lost with its worker in Dask ({future.status})."
                done.set_result(Outcome("lost", error=gone, wall_s=wall_s, blameless=True))
        except BaseException as error:  # a callback that raises would leave the run waiting for ever
            done.set_result(Outcome("lost", error=f"{step}: its answer from Dask cannot be read: {type(error).__name__}: {error}"))


def _is_death(error: BaseException | None) -> bool:
    """Whether the worker died, not the function raised; asked by name, for the class is an extra's."""
    return type(error).__name__ in {"KilledWorker", "CommClosedError", "WorkerStartTimeoutError", "NoValidWorkerError"}


@contextmanager
def _own_environment() -> Iterator[None]:
    """Take back what Dask sets in this process for the ones it starts: one OpenMP thread here would change what trainings beside it give."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _imported() -> Any:
    try:
        import distributed  # noqa: PLC0415 - an extra, and heavy
    except ImportError:
        raise Unavailable("Dask is not installed.", code="engine.no_dask", hint="Install rung[dask].") from None
    return distributed
