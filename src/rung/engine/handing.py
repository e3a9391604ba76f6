"""Handing steps to another engine, whose connection takes seconds: it is made beside, when the first step comes."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from rung.core.errors import RungError
from rung.engine.executors.family import Outcome, Task


class Handing:
    """Submits to another engine. ``_connect`` reaches it, ``_hand_over`` gives it an attempt, ``_withdraw`` takes it back."""

    can_stop = True
    local = False

    def __init__(self) -> None:
        self._connected = threading.Event()
        self._connecting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rung-connect")
        self._lock = threading.Lock()
        self._entering: dict[str, bool] = {}  # attempts on their way to the other engine, and whether they were cancelled meanwhile

    def submit(self, task: Task) -> Future[Outcome]:
        """Start an attempt."""
        done: Future[Outcome] = Future()
        done.set_running_or_notify_cancel()
        with self._lock:
            self._entering[task.id] = False
        if self._connected.is_set():
            self._begin(task, done)
        else:
            self._connecting.submit(self._connect_and_begin, task, done)
        return done

    def cancel(self, task: str) -> None:
        """End an attempt, wherever it is by now."""
        with self._lock:
            if task in self._entering:
                self._entering[task] = True
        self._withdraw(task)

    def _connect_and_begin(self, task: Task, done: Future[Outcome]) -> None:
        try:
            if not self._connected.is_set():
                self._connect()
                self._connected.set()
        except BaseException as error:  # the attempt's future is all that can tell of it
            with self._lock:
                del self._entering[task.id]
            done.set_result(Outcome("failed", error=f"Step {task.step!r} could not begin: {error}"))
            return
        self._begin(task, done)

    def _begin(self, task: Task, done: Future[Outcome]) -> None:
        try:
            if self._entering[task.id]:
                done.set_result(Outcome("cancelled", error=f"Step {task.step!r} was cancelled."))
            else:
                self._hand_over(task, done)
        except RungError as error:
            done.set_result(Outcome("failed", error=f"Step {task.step!r} could not begin: {error}"))
        except Exception as error:  # another engine raises what it likes when its cluster has gone
            done.set_result(Outcome("lost", error=f"Step {task.step!r} could not be handed over: {type(error).__name__}: {error}"))
        with self._lock:
            withdrawn = self._entering.pop(task.id) and not done.done()
        if withdrawn:  # cancelled while it was handed over, too early to be found there
            self._withdraw(task.id)

    def _connect(self) -> None:
        raise NotImplementedError

    def _hand_over(self, task: Task, done: Future[Outcome]) -> None:
        raise NotImplementedError

    def _withdraw(self, task: str) -> None:
        raise NotImplementedError
