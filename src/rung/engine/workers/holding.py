"""The engine's side of a keeper: start it, have it start processes, and attend to one until it has ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from rung.core.errors import Unavailable
from rung.engine.logs import LogFile
from rung.engine.usage import held_bytes
from rung.engine.workers import keeper as program
from rung.engine.workers.keeper import receive, send

_GRACE_S = 5.0
_CHUNK = 1 << 16
_START_S = 60.0
NO_KEEPER = "engine.no_keeper"
_LOOK_S, _CLOSE_LOOK_S = 0.5, 0.05


@dataclass
class Held:
    """A process that carries out errands. ``files`` are the project's files it has imported, ``charged`` seconds told of."""

    pid: int
    connection: socket.socket
    status: int
    code: str
    files: tuple[tuple[str, int, int], ...] = ()
    charged: float = 0.0
    fresh: bool = True

    def let_go(self) -> None:
        """Close the connection: a process that waits for an errand ends."""
        self.connection.close()
        os.close(self.status)

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return bool(select.select([self.status], [], [], 0)[0])

    def is_stale(self) -> bool:
        """Whether a file of the project has changed since this process imported it."""
        return is_stale(self.files)


def is_stale(files: tuple[tuple[str, int, int], ...]) -> bool:
    """Whether one of the files has another change time or size."""
    for file, changed_at, size in files:
        try:
            stat = os.stat(file)
        except OSError:
            return True
        if (stat.st_mtime_ns, stat.st_size) != (changed_at, size):
            return True
    return False


class Orders:
    """A keeper's control socket: one order at a time. ``ended`` says that nobody is at its other end any more."""

    def __init__(self, control: socket.socket) -> None:
        self.ended = False
        self._control = control
        self._lock = threading.Lock()
        self._number = 0

    def start(self, argv: list[str], *, environ: dict[str, str], cwd: str, log: int, code: str = "") -> Held:
        """Have a program started; ``{fd}`` in its arguments is the number of its connection."""
        return self._new({"do": "exec", "argv": argv, "environ": environ, "cwd": cwd}, code, (log,))

    def fork(self, code: str) -> Held:
        """Have the zygote forked."""
        return self._new({"do": "fork"}, code, ())

    def preload(self, modules: list[str], path: list[str]) -> dict[str, Any]:
        """Have modules imported before any fork; which files they are, and whether a fork is safe."""
        with self._lock:
            return self._asked({"do": "preload", "modules": modules, "path": path}, ())

    def close(self) -> None:
        """Let the keeper end, and with it all that it has started."""
        with self._lock:
            self._control.close()

    def _new(self, order: dict[str, Any], code: str, fds: tuple[int, ...]) -> Held:
        mine, theirs = socket.socketpair()
        status, told = os.pipe2(os.O_CLOEXEC)
        try:
            with self._lock:
                answer = self._asked(order, (theirs.fileno(), told, *fds))
        except Unavailable:
            mine.close()
            os.close(status)
            raise
        finally:
            theirs.close()
            os.close(told)
        return Held(answer["pid"], mine, status, code)

    def _asked(self, order: dict[str, Any], fds: tuple[int, ...]) -> dict[str, Any]:
        self._number += 1
        found: dict[str, Any] = {"number": -1}
        try:
            send(self._control, json.dumps({**order, "number": self._number}).encode(), fds)
            self._control.settimeout(_START_S)
            while found["number"] != self._number:  # that of an earlier order may come late, when nobody waits for it any more
                data, _ = receive(self._control)
                if not data:
                    break
                found = json.loads(data)
        except OSError as error:
            data, said = b"", f": {error}"
            self.ended |= not isinstance(error, TimeoutError)
        else:
            said = "."
            self.ended |= not data
        if not data:
            raise Unavailable(
                f"The process that starts steps has ended{said}",
                code=NO_KEEPER,
                hint="A module may end the process that imports it.",
            )
        return found


class Keeping:
    """A keeper process of this engine, started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: Orders | None = None
        self._lock = threading.Lock()

    @property
    def orders(self) -> Orders:
        """Its control; a keeper that has died is replaced."""
        with self._lock:
            if self._process is None or self._process.poll() is not None or self._orders is None or self._orders.ended:
                self._end()  # one that is being killed still has a pid, and no ear
                mine, theirs = socket.socketpair()
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", program.__file__, str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )  # fmt: skip
                theirs.close()
                self._orders = Orders(mine)
            return self._orders

    def close(self) -> None:
        """End the keeper and everything it has started."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._orders is not None:
            self._orders.close()
        if self._process is not None:
            try:
                self._process.wait(timeout=_GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = self._orders = None


@dataclass
class Limits:
    """When a process is ended from outside."""

    timeout_s: float | None = None
    memory_bytes: int | None = None


@dataclass
class End:
    """How attending ended: with an answer, or with the process's exit status; ``stopped`` says why it was ended."""

    answer: bytes = b""
    status: int | None = None
    cpu_s: float = 0.0
    peak_bytes: int = 0
    stopped: str = ""


@dataclass
class Attendance:
    """Waits for one process: takes its output to the log, and ends it at its limits or when asked to."""

    held: Held
    log: LogFile
    limits: Limits
    asked: int = field(default_factory=lambda: os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    def cancel(self) -> None:
        """Ask that the process be ended."""
        with contextlib.suppress(OSError):
            os.eventfd_write(self.asked, 1)

    def until_end(self, output: int) -> End:
        """Attend until the process has answered or ended; ``output`` is the end of a pipe that its output comes from."""
        end = End()
        os.set_blocking(output, False)
        poll = select.poll()
        for fd in (self.held.connection.fileno(), self.held.status, output, self.asked):
            poll.register(fd, select.POLLIN)
        began = time.monotonic()
        look = _CLOSE_LOOK_S if self.limits.memory_bytes else _LOOK_S
        looked = began
        while not end.answer and end.status is None:
            left = look if self.limits.timeout_s is None else min(look, self.limits.timeout_s - (time.monotonic() - began))
            ready = {fd for fd, _ in poll.poll(max(0.0, left) * 1000)}
            if output in ready and not self._copied(output):
                poll.unregister(output)
            if self.held.connection.fileno() in ready:
                end.answer = receive(self.held.connection)[0]
                if not end.answer:
                    poll.unregister(self.held.connection.fileno())
                    self._ended(end)
            elif self.held.status in ready:
                self._ended(end)
            if end.answer or end.status is not None:
                break
            if self.asked in ready:
                self._stop(end, "cancelled")
            elif self.limits.timeout_s is not None and time.monotonic() - began >= self.limits.timeout_s:
                self._stop(end, "timed_out")
            elif time.monotonic() - looked >= look:
                looked = time.monotonic()
                end.peak_bytes = max(end.peak_bytes, held_bytes(self.held.pid))
                if self.limits.memory_bytes and end.peak_bytes > self.limits.memory_bytes:
                    self._stop(end, "memory", grace_s=0.0)
        while self._copied(output):
            pass
        return end

    def _copied(self, output: int) -> bool:
        try:
            data = os.read(output, _CHUNK)
        except BlockingIOError:
            return False
        self.log.write(data)
        return bool(data)

    def _stop(self, end: End, why: str, grace_s: float = _GRACE_S) -> None:
        """End the process and its group: politely, then for good; its keeper ends what has left the group."""
        end.stopped = why
        if grace_s:
            self._signal(signal.SIGTERM)
            select.select([self.held.status], [], [], grace_s)
        self._signal(signal.SIGKILL)
        self._ended(end)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.held.pid, number)

    def _ended(self, end: End) -> None:
        """Take the exit status from the keeper; -SIGKILL when the keeper has gone too."""
        ready, _, _ = select.select([self.held.status], [], [], _GRACE_S)
        if not ready:  # it lives on behind a closed connection, or the machine stands still and its keeper will yet tell how it ended
            self._signal(signal.SIGKILL)
            ready, _, _ = select.select([self.held.status], [], [], _START_S)
        told = os.read(self.held.status, 4096) if ready else b""
        if not told:
            self._signal(signal.SIGKILL)
            end.status = signal.SIGKILL
            return
        found = json.loads(told)
        end.status, end.cpu_s = int(found["status"]), max(0.0, float(found["cpu_s"]) - self.held.charged)
