"""Steps in threads of this process: a millisecond a step, no isolation, and no way to stop a step that has begun."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from rung.engine.capture import capturing
from rung.engine.carrying import carried_out
from rung.engine.executors.family import EXECUTORS, Outcome, Task, seeded
from rung.engine.secrets import values_of
from rung.pipelines.context import current_step
from rung.storage.blobs import BlobStore


@EXECUTORS.member("inline")
class Inline:
    """The thread executor."""

    can_stop = False
    local = True

    def __init__(self, blobs: BlobStore, width: int, settings: Any = None) -> None:
        self.slots = width
        self._blobs = blobs
        self._pool = ThreadPoolExecutor(max_workers=width, thread_name_prefix="rung-step")
        self._busy = 0
        self._lock = threading.Lock()

    def submit(self, task: Task) -> Future[Outcome]:
        """Start an attempt."""
        return self._pool.submit(self._run, task)

    def cancel(self, task: str) -> None:
        """Nothing: a thread cannot be stopped. Its result is ignored."""

    def close(self) -> None:
        """Wait for what runs."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, task: Task) -> Outcome:
        if task.function is None:
            return Outcome("failed", error=f"Step {task.step!r} has no function here.")
        with self._lock:
            self._busy += 1
            alone = self._busy == 1
        # Alone, the process's time counts the threads of libraries too; beside others only the thread's own is fair.
        cpu = time.process_time if alone else time.thread_time
        token = current_step.set(task.context)
        try:
            with capturing(task.log, values_of(task)), seeded(task.context.seed) if task.draws else nullcontext():
                return carried_out(task, task.function, self._blobs, cpu, alone=alone)
        finally:
            current_step.reset(token)
            with self._lock:
                self._busy -= 1
