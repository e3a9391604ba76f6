"""Attempts in processes: what the pool and the process executor have in common."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec
from msgspec.structs import replace

from rung.core.errors import RungError, Unavailable
from rung.core.records import prepared
from rung.engine.executors.family import Outcome, Task
from rung.engine.logs import LogFile
from rung.engine.secrets import values_of
from rung.engine.wire import Answer, outcome_of, packed
from rung.engine.workers.holding import NO_KEEPER, Attendance, End, Held, Keeping, Limits
from rung.engine.workers.keeper import send
from rung.storage.blobs import BlobStore

_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT}
_TYPES = {
    "timed_out": ("builtins.TimeoutError", "builtins.OSError", "builtins.Exception", "builtins.BaseException"),
    "memory": ("builtins.MemoryError", "builtins.Exception", "builtins.BaseException"),
}
_EXIT = ("builtins.SystemExit", "builtins.BaseException")


class Crew:
    """Carries out each attempt in a process that ``_lent`` gives and ``_returned`` takes back."""

    can_stop = True
    local = True

    def __init__(self, blobs: BlobStore, width: int, settings: Any = None) -> None:
        self.slots = width
        self.settings = settings
        self.keeping = Keeping()
        self._threads = ThreadPoolExecutor(max_workers=width, thread_name_prefix="rung-attempt")
        self._attending: dict[str, Attendance | None] = {}
        self._cancelled: set[str] = set()
        self._lock = threading.Lock()

    def submit(self, task: Task) -> Future[Outcome]:
        """Start an attempt."""
        with self._lock:
            self._attending[task.id] = None
        return self._threads.submit(self._run, task)

    def cancel(self, task: str) -> None:
        """End the attempt's process with everything it has started."""
        with self._lock:
            if task not in self._attending:
                return
            self._cancelled.add(task)
            attendance = self._attending[task]
            if attendance is not None:
                attendance.cancel()  # still locked: a moment later its descriptor may be another file's

    def close(self) -> None:
        """End everything; no process and no thread is left."""
        with self._lock:
            running = list(self._attending)
        for task in running:
            self.cancel(task)
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._dismiss()
        self.keeping.close()

    def _lent(self, task: Task, output: int) -> Held:
        """A process for an attempt; one that is started for it writes to ``output``. Raises RungError when there can be none."""
        raise NotImplementedError

    def _returned(self, held: Held, *, worn: str) -> None:
        """Take a process back from an attempt."""
        held.let_go()

    def _dismiss(self) -> None:
        """Let go of processes that wait."""

    def _run(self, task: Task) -> Outcome:
        began = time.perf_counter()
        try:
            return self._attempted(task, began)
        except (RungError, OSError, msgspec.MsgspecError) as error:
            said = error.message if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
            hint = f" {error.hint}" if isinstance(error, RungError) and error.hint else ""
            return Outcome("failed", error=f"Step {task.step!r} could not begin: {said}{hint}", wall_s=time.perf_counter() - began)
        finally:
            with self._lock:
                self._attending.pop(task.id, None)
                self._cancelled.discard(task.id)

    def _attempted(self, task: Task, began: float) -> Outcome:
        errand = packed(task)
        if self._is_cancelled(task):
            return _ended(task, End(stopped="cancelled"), time.perf_counter() - began)
        output, told = os.pipe2(os.O_CLOEXEC)
        log = LogFile(task.log, values_of(task))
        held: Held | None = None
        try:
            try:
                held = self._lent_again(task, told)
                attendance = Attendance(held, log, Limits(task.timeout_s, task.memory_bytes))
                try:
                    send(held.connection, errand, (told,))
                except OSError:  # it has died while it waited; the end tells how
                    held.charged = 0.0
            finally:
                os.close(told)
            try:
                with self._lock:
                    self._attending[task.id] = attendance
                    if task.id in self._cancelled:
                        attendance.cancel()
                end = attendance.until_end(output)
            finally:
                with self._lock:
                    self._attending[task.id] = None
                os.close(attendance.asked)
        except BaseException:
            if held is not None:
                self._returned(held, worn="it could not be attended to")
            raise
        finally:
            os.close(output)
            log.close()
        wall_s = time.perf_counter() - began
        if not end.answer:
            self._returned(held, worn="it has ended")
            return _ended(task, end, wall_s)
        answer = msgspec.msgpack.decode(end.answer, type=prepared(Answer))
        held.files, held.fresh = answer.files, False
        held.charged += answer.cpu_s
        self._returned(held, worn=answer.worn)
        outcome = outcome_of(answer)
        return replace(outcome, wall_s=wall_s, peak_bytes=max(outcome.peak_bytes, end.peak_bytes))

    def _lent_again(self, task: Task, output: int) -> Held:
        """A process, from another keeper where the one that was asked has just been killed."""
        try:
            return self._lent(task, output)
        except Unavailable as error:
            if error.code != NO_KEEPER:
                raise
            return self._lent(task, output)

    def _is_cancelled(self, task: Task) -> bool:
        with self._lock:
            return task.id in self._cancelled


def _ended(task: Task, end: End, wall_s: float) -> Outcome:
    """The outcome of an attempt whose process has not answered."""
    step = f"Step {task.step!r}"
    measured = {"wall_s": wall_s, "cpu_s": end.cpu_s, "peak_bytes": end.peak_bytes}
    if end.stopped == "cancelled":
        return Outcome("cancelled", error=f"{step} was cancelled.", **measured)  # type: ignore[arg-type]  # numbers by name
    if end.stopped == "timed_out":
        return Outcome("timed_out", error=f"{step} took longer than {task.timeout_s:g} s.", error_types=_TYPES["timed_out"], **measured)  # type: ignore[arg-type]
    if end.stopped == "memory":
        limit = (task.memory_bytes or 0) / 10**6
        return Outcome("failed", error=f"{step} used more than {limit:g} MB of memory.", error_types=_TYPES["memory"], **measured)  # type: ignore[arg-type]
    status = end.status or 0
    if os.WIFSIGNALED(status):
        number = signal.Signals(os.WTERMSIG(status))
        kind = "lost" if number in _OUTSIDE else "failed"
        return Outcome(kind, error=f"{step} was killed by {number.name} before it could answer.", **measured)  # type: ignore[arg-type]
    code = os.waitstatus_to_exitcode(status)
    return Outcome("failed", error=f"{step} ended with exit code {code} before it could answer.", error_types=_EXIT, **measured)  # type: ignore[arg-type]
