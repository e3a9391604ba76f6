"""Steps in a fresh interpreter each: isolated, limited in time and memory, and stopped with their whole process group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from rung.engine.executors.family import EXECUTORS, Outcome, Task
from rung.engine.wire import Answer, packed
from rung.storage.blobs import BlobStore

_GRACE_S = 5.0


@EXECUTORS.member("process")
class Process:
    """The executor of one interpreter a step."""

    can_stop = True

    def __init__(self, blobs: BlobStore, width: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=width, thread_name_prefix="rung-process")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._cancelled: set[str] = set()
        self._lock = threading.Lock()

    def submit(self, task: Task) -> Future[Outcome]:
        """Start an attempt."""
        return self._pool.submit(self._run, task)

    def cancel(self, task: str) -> None:
        """Stop the attempt's process group."""
        with self._lock:
            self._cancelled.add(task)
            process = self._running.get(task)
        if process is not None:
            _stop(process)

    def close(self) -> None:
        """Stop everything."""
        with self._lock:
            running = list(self._running)
        for task in running:
            self.cancel(task)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, task: Task) -> Outcome:
        task.scratch.mkdir(parents=True, exist_ok=True)
        task.log.parent.mkdir(parents=True, exist_ok=True)
        errand, answer = task.scratch / f"{task.id}.errand", task.scratch / f"{task.id}.answer"
        errand.write_bytes(packed(task, answer))
        began = time.perf_counter()
        environ = {**os.environ, **task.environ, "PYTHONHASHSEED": str(task.context.seed % 2**32), "RUNG_ERRAND": str(errand)}
        with task.log.open("ab") as log, self._lock:
            process = subprocess.Popen(
                [sys.executable, "-m", "rung.engine.child", str(errand)],
                cwd=task.folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            self._running[task.id] = process
        try:
            process.wait(timeout=task.timeout_s)
        except subprocess.TimeoutExpired:
            _stop(process)
            return Outcome(
                "timed_out", error=f"Step {task.step!r} took longer than {task.timeout_s:g} s.", wall_s=time.perf_counter() - began
            )
        finally:
            with self._lock:
                self._running.pop(task.id, None)
            errand.unlink(missing_ok=True)
        return self._told(task, process, answer, time.perf_counter() - began)

    def _told(self, task: Task, process: subprocess.Popen[bytes], answer: Path, wall_s: float) -> Outcome:
        if task.id in self._cancelled:
            return Outcome("cancelled", error=f"Step {task.step!r} was cancelled.", wall_s=wall_s)
        try:
            outcome = msgspec.msgpack.decode(answer.read_bytes(), type=Answer)
        except (OSError, msgspec.MsgspecError):
            how = (
                f"killed by {signal.Signals(-process.returncode).name}"
                if process.returncode < 0
                else f"ended with exit code {process.returncode}"
            )
            return Outcome("lost", error=f"Step {task.step!r} was {how} before it could answer.", wall_s=wall_s)
        finally:
            answer.unlink(missing_ok=True)
        return Outcome(outcome.status, outputs=outcome.outputs, error=outcome.error, wall_s=wall_s, cpu_s=outcome.cpu_s)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process group: politely, then for good."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
