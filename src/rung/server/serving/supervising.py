"""The supervisor: sockets, workers in their places, restarts with back-off, signals, and replacement one at a time.

It is small and has one thread: everything it starts is forked from it, or from a template that it forked.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from rung.core.errors import RungError, Unavailable
from rung.engine.workers.keeper import adopt_orphans
from rung.server.serving.template import Template, start_template
from rung.server.serving.worker import RETIRE, Job, become_worker, ended, held_orders, keep_only

Opened = Callable[[], socket.socket]
_STEADY_S = 10.0
_LONGEST_PAUSE_S = 10.0
_FIRST_PAUSE_S = 0.2
_UNBIND_S = 0.5
_GIVE_UP = 6
_READY_S = 120.0
_STOP_S = 15.0
_NODE_PAUSE_S, _NODE_STOP_S = 1.0, 12.0


@dataclass
class Worker:
    """A worker process: when it began, whether it answers, whether it was asked to go."""

    pid: int
    ready: int
    began: float
    answers: bool = False
    leaving: bool = False


@dataclass
class Place:
    """One of the worker places: its socket outlives the workers that answer on it."""

    number: int
    listener: socket.socket | None
    worker: Worker | None = None
    failures: int = 0
    due: float = 0.0
    old: list[Worker] = field(default_factory=list)


class Supervisor:
    """Keeps ``workers`` processes answering on one port.

    Args:
        job: what each worker does.
        listeners: one bound socket a worker.
        opened: makes a further socket on the same port.
        say: where to tell what happened.
    """

    def __init__(self, job: Job, listeners: list[socket.socket], opened: Opened, say: Callable[[str], object]) -> None:
        self._job = job
        self._opened = opened
        self._say = say
        self._places = [Place(number, listener) for number, listener in enumerate(listeners)]
        self._template: Template | None = None
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._replace = False
        self._hurry = False
        self._clean = True
        self._node = 0
        self._node_due = 0.0

    def run(self, started: Callable[[str], object]) -> int:
        """Supervise until a signal ends it; 0 when every worker ended in order.

        ``started`` is told once every place answers, with the first token of a fresh home, or nothing.

        Raises:
            Unavailable: workers die as soon as they start, again and again; or what they need cannot be loaded.
        """
        adopt_orphans()
        woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._signalled)
        self._selector.register(woken, selectors.EVENT_READ)
        try:
            if self._job.node is not None:
                self._node = self._follow(again=False)
            self._template = template = None if self._stopping else start_template(self._job, self._told_to_stop)
            for place in self._places:
                if not self._stopping:
                    self._start(place)
            self._until_all_answer(woken)
            if not self._stopping and template is not None:
                started(template.first_token)
            while not self._stopping:
                self._look(woken, self._pause())
                if self._replace:
                    self._roll(woken)
        finally:
            self._stop(woken)
        return 0 if self._clean else 1

    def _signalled(self, number: int, _: object) -> None:
        if number == signal.SIGHUP:
            self._replace = True
        elif number != signal.SIGCHLD:
            self._hurry = self._stopping
            self._stopping = True

    def _told_to_stop(self) -> bool:
        return self._stopping

    def _until_all_answer(self, woken: int) -> None:
        while not self._stopping and not all(place.worker and place.worker.answers for place in self._places):
            self._look(woken, self._pause())

    def _pause(self) -> float:
        waits = [place.due - time.monotonic() for place in self._places if place.worker is None]
        if self._job.node is not None and not self._node:
            waits.append(self._node_due - time.monotonic())
        return max(0.0, min(waits, default=60.0))

    def _follow(self, *, again: bool) -> int:
        """Start the process that follows the platform and ships for the workers; its pid."""
        from rung.server.node.running import start_node_process  # noqa: PLC0415 - only a node's supervisor is that large

        assert self._job.node is not None  # noqa: S101 - asked by those who call
        return start_node_process(self._job.settings, self._job.node, self._job.workers, again=again, stopping=self._told_to_stop)

    def _look(self, woken: int, wait_s: float) -> None:
        """Wait for a signal or a word of a worker; notice who ended, and start who is due."""
        for key, _ in self._selector.select(wait_s):
            if key.fd == woken:
                with suppress(BlockingIOError):
                    os.read(woken, 4096)
            else:
                self._heard(key.fd, key.data)
        self._reap()
        if self._stopping:
            return
        if self._job.node is not None and not self._node and self._node_due <= time.monotonic():
            self._node = self._follow(again=True)
        for place in self._places:
            if place.worker is None and place.due <= time.monotonic():
                self._start(place)

    def _heard(self, fd: int, worker: Worker) -> None:
        self._selector.unregister(fd)  # said or closed: nothing more comes
        worker.answers = os.read(fd, 1) == b"R"

    def _start(self, place: Place) -> None:
        if place.listener is None:
            place.listener = self._opened()
        heard, says = os.pipe2(os.O_CLOEXEC)
        pid = 0
        if self._template is not None and self._template.forks:
            pid = self._template.spawn(place.listener, says)
            if pid == 0:  # it has ended; the next one loads anew
                self._template.close()
                self._template = self._another_template()
                self._reap()
                pid = self._template.spawn(place.listener, says) if self._template is not None and self._template.forks else 0
        if pid == 0:
            with held_orders():
                pid = os.fork()
                if pid == 0:
                    keep_only(place.listener.fileno(), says)
                    become_worker(self._job, place.listener, says, supervisor=os.getppid())
        os.close(says)
        place.worker = Worker(pid, heard, time.monotonic())
        self._selector.register(heard, selectors.EVENT_READ, place.worker)

    def _another_template(self) -> Template | None:
        """One in place of one that has died; without it workers load for themselves, and those that answer are not held up by a failure."""
        try:
            return start_template(self._job, self._told_to_stop)
        except RungError as error:
            self._say(f"Workers load for themselves: {error}")
            return None

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if self._template is not None and pid == self._template.pid:
                self._template.pid = 0
            if pid == self._node:
                self._node, self._node_due = 0, time.monotonic() + _NODE_PAUSE_S
                if not self._stopping:
                    self._say(f"The process that follows the platform {ended(status)}; another starts in {_NODE_PAUSE_S:.0f} s.")
            for place in self._places:
                if place.worker and place.worker.pid == pid:
                    self._lost(place, place.worker, status)
                for worker in [worker for worker in place.old if worker.pid == pid]:
                    place.old.remove(worker)
                    self._forget(worker)
                    self._clean &= status == 0

    def _lost(self, place: Place, worker: Worker, status: int) -> None:
        self._forget(worker)
        place.worker = None
        if self._stopping or worker.leaving:
            self._clean &= status == 0
            return
        lived = time.monotonic() - worker.began
        place.failures = 1 if worker.answers and lived > _STEADY_S else place.failures + 1
        pause = 0.0 if place.failures == 1 else min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (place.failures - 2))
        place.due = time.monotonic() + pause
        self._say(f"Worker {worker.pid} {ended(status)}; another starts{f' in {pause:.1f} s' if pause else ''}.")
        if pause > _UNBIND_S and place.listener is not None and len(self._places) > 1:
            place.listener.close()  # or the kernel would go on giving it connections that nobody takes
            place.listener = None
        if place.failures >= _GIVE_UP and not any(other.worker and other.worker.answers for other in self._places):
            raise Unavailable(
                f"Workers end as soon as they start; the last one {ended(status)}.",
                code="server.workers_die",
                hint="See what they said above.",
            )

    def _forget(self, worker: Worker) -> None:
        with suppress(KeyError):
            self._selector.unregister(worker.ready)
        os.close(worker.ready)

    def _roll(self, woken: int) -> None:
        """Replace every worker by one that has loaded everything anew; what fails to load changes nothing."""
        self._replace = False
        self._say("Replacing workers.")
        try:
            template = start_template(self._job, self._told_to_stop)
        except RungError as error:
            self._say(f"Workers stay as they are: {error}")
            return
        if template is None:
            return
        if self._template is not None:
            self._template.close()
        self._template = template
        for place in self._places:
            before = place.worker
            if before is not None:
                place.old.append(before)
            self._start(place)
            fresh, until = place.worker, time.monotonic() + _READY_S
            while not self._stopping and place.worker is fresh and fresh and not fresh.answers and time.monotonic() < until:
                self._look(woken, min(1.0, until - time.monotonic()))
            if before is None or before not in place.old:
                continue
            if place.worker is fresh and fresh and fresh.answers:
                before.leaving = True
                os.kill(before.pid, RETIRE)
            elif not self._stopping:
                self._keep(place, before)
                self._say("A new worker does not answer; the others stay as they are.")
                return
            if self._stopping:
                return
        self._say("Workers were replaced.")

    def _keep(self, place: Place, before: Worker) -> None:
        """Go on with the worker that was there; the one that should follow is ended."""
        place.old.remove(before)
        if place.worker is not None:
            place.worker.leaving = True
            place.old.append(place.worker)
            os.kill(place.worker.pid, signal.SIGKILL)
        place.worker = before

    def _workers(self) -> list[Worker]:
        return [worker for place in self._places for worker in (*place.old, *([place.worker] if place.worker else ()))]

    def _stop(self, woken: int) -> None:
        """Let no connection in, ask every worker to finish, and end those that do not."""
        self._stopping = True
        for place in self._places:
            if place.listener is not None:
                place.listener.close()
        if self._template is not None:
            self._template.close()
        self._tell(signal.SIGTERM)
        until = time.monotonic() + _STOP_S + self._job.settings.serving.drain_s
        while self._workers() and time.monotonic() < until:
            self._look(woken, until - time.monotonic())
            if self._hurry:
                self._hurry = False
                self._tell(signal.SIGTERM)
        if self._workers():
            self._clean = False
            self._say(f"{len(self._workers())} workers did not end in {_STOP_S:.0f} s and were killed.")
            self._tell(signal.SIGKILL)
            while self._workers():
                self._look(woken, 1.0)
        self._reap()
        self._end_node(woken)

    def _end_node(self, woken: int) -> None:
        """Let the process that ships send what the workers sealed, for a while."""
        until = time.monotonic() + _NODE_STOP_S
        number = signal.SIGTERM
        while self._node:
            with suppress(ProcessLookupError):
                os.kill(self._node, number)
            self._look(woken, max(0.1, until - time.monotonic()))
            if time.monotonic() > until:
                number = signal.SIGKILL

    def _tell(self, number: int) -> None:
        for worker in self._workers():
            with suppress(ProcessLookupError):
                os.kill(worker.pid, number)
