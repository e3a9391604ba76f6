"""The worker: carries out errands that come over a socket, and is afterwards as it was before.

Directory, environment, umask, signals, limits and standard streams are put back after each errand, and what descends
from the process is killed. A worker that cannot be put back says that it is worn.
"""

from __future__ import annotations

import fcntl
import gc
import io
import logging
import os
import resource
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import msgspec

from rung.core.errors import RungError
from rung.engine.carrying import carried_out
from rung.engine.executors.family import Outcome, Task, seed_everything
from rung.engine.usage import cpu_seconds, data_bytes, own_bytes
from rung.engine.wire import Answer, Errand, answer_of, unpacked
from rung.engine.workers.keeper import children_of, kill_children, project_state, receive, send
from rung.pipelines.authoring import Step
from rung.pipelines.context import current_step
from rung.pipelines.project import find_target
from rung.storage.blobs import BlobStore, open_blobs

_GROWTH = 256 << 20  # a worker that keeps so much more than it began with is not used again
_GPU_LIBRARIES = {"torch", "cupy", "jax", "tensorflow", "numba.cuda"}
_made: list[str] = []
_blobs: dict[str, BlobStore] = {}
_USUAL = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM)
_SIGNALS = [number for number in signal.valid_signals() if number not in {signal.SIGKILL, signal.SIGSTOP}]


def serve(connection: int, *, reused: bool) -> None:
    """Carry out errands until the engine closes the connection; without ``reused`` only one."""
    engine = socket.socket(fileno=connection)
    before = Before()
    while True:
        data, fds = receive(engine)
        if not data:
            return
        if fds:
            _redirect(fds[0])
        _standard_streams()
        errand = msgspec.msgpack.decode(data, type=Errand)
        answer = performed(errand)
        lingering = len(children_of(os.getpid()))
        if lingering:
            os.write(2, f"[{lingering} process{'es' if lingering > 1 else ''} that the step had left running were ended]\n".encode())
        kill_children()
        answer.worn = before.restore() if reused else "used once"
        if "CUDA_VISIBLE_DEVICES" in errand.environ and _GPU_LIBRARIES & sys.modules.keys():
            answer.worn = "it may hold memory of a GPU"
        answer.files = tuple((str(f), int(at), int(size)) for f, at, size in project_state([errand.code or errand.folder]))
        send(engine, msgspec.msgpack.encode(answer))
        if answer.worn:
            return


def performed(errand: Errand) -> Answer:
    """The answer to an errand, carried out in this process."""
    task = unpacked(errand)
    code = errand.code or errand.folder
    if errand.scratch not in _made:
        task.scratch.mkdir(parents=True, exist_ok=True)
        _made[:] = [errand.scratch]
    if code not in sys.path:
        sys.path.insert(0, code)
    with suppress(FileNotFoundError):  # on another machine there may be no such folder
        os.chdir(errand.folder)
    _set_variables(errand.environ)
    if errand.memory_bytes:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        wished = data_bytes() + errand.memory_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (wished if most == resource.RLIM_INFINITY else min(wished, most), most))
    used = cpu_seconds()
    token = current_step.set(task.context)
    try:
        answer = answer_of(_outcome(task, errand))
    finally:
        current_step.reset(token)
        _flush()
    answer.cpu_s = cpu_seconds() - used
    return answer


def _set_variables(wanted: dict[str, str]) -> None:
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _outcome(task: Task, errand: Errand) -> Outcome:
    try:
        found = find_target(errand.target)
    except RungError as error:
        return Outcome("failed", error=f"Step {task.step!r} failed: {error}")
    except BaseException as error:  # a module may do anything when it is imported
        return Outcome("failed", error=f"Step {task.step!r} failed: its module cannot be imported: {type(error).__name__}: {error}")
    seed_everything(task.context.seed)
    blobs = _blobs.get(errand.blobs) or _blobs.setdefault(errand.blobs, open_blobs(errand.blobs))
    return carried_out(task, found.function if isinstance(found, Step) else found, blobs, lambda: sum(os.times()[:4]))


class Before:
    """What a step may change of its process, as it is before the first one."""

    def __init__(self) -> None:
        self.folder = Path.cwd()
        self.environ, self.variables = dict(os.environ), dict(os.environb)
        self.umask = os.umask(0o022)
        os.umask(self.umask)
        self.path = list(sys.path)
        self.signals: dict[int, object] = {number: signal.getsignal(number) for number in _SIGNALS}
        self.limits = {limit: resource.getrlimit(limit) for limit in (resource.RLIMIT_DATA, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)}
        self.held = own_bytes(os.getpid())
        self.nice = os.getpriority(os.PRIO_PROCESS, 0)

    def restore_quickly(self) -> None:
        """Put back what concerns the next step in a worker that is not ours to end."""
        if dict(os.environb) != self.variables:
            _put_back(self.environ)
        os.umask(self.umask)
        sys.path[:] = self.path
        with suppress(OSError):
            os.chdir(self.folder)
        if threading.current_thread() is threading.main_thread():
            signal.setitimer(signal.ITIMER_REAL, 0)  # first: under the usual handler it would end this worker, and the next step with it
            for number in _USUAL:
                handler = self.signals[number]
                if handler is not None and signal.getsignal(number) is not handler:
                    signal.signal(number, handler)  # type: ignore[arg-type]  # it came from getsignal

    def restore(self) -> str:
        """Put everything back; why this process must not be used again, empty when it may."""
        worn = ""
        if dict(os.environb) != self.variables:
            _put_back(self.environ)
        os.umask(self.umask)
        sys.path[:] = self.path
        try:
            for limit, held in self.limits.items():
                resource.setrlimit(limit, held)
            os.chdir(self.folder)
        except (OSError, ValueError) as error:
            worn = f"its state cannot be put back: {error}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number, handler in self.signals.items():
            if handler is not None and signal.getsignal(number) is not handler:
                with suppress(OSError, ValueError):  # some are the C library's own
                    signal.signal(number, handler)  # type: ignore[arg-type]  # it came from getsignal
        _close_streams()
        if threading.active_count() > 1:
            worn = "threads were left: " + ", ".join(thread.name for thread in threading.enumerate()[1:4])
        elif sys.gettrace() is not None or sys.getprofile() is not None:
            worn = "the step has left a tracer"
        elif os.getpriority(os.PRIO_PROCESS, 0) != self.nice or os.getuid() != os.geteuid():
            worn = "the step has changed its process's rights"
        elif own_bytes(os.getpid()) - self.held > _GROWTH:
            gc.collect()
            if own_bytes(os.getpid()) - self.held > _GROWTH:
                worn = "its memory has grown"
        return worn


def _put_back(environ: dict[str, str]) -> None:
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    _set_variables(environ)


def _standard_streams() -> None:
    """New texts over descriptors 1 and 2, whatever the last step did to the old ones."""
    sys.stdout, sys.stderr = _text_over(1), _text_over(2)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc, assignment]  # final for programs, not for us
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream not in {sys.stdout, sys.stderr}:
            handler.setStream(sys.stderr)


def _text_over(number: int) -> TextIO:
    return io.TextIOWrapper(
        os.fdopen(number, "wb", buffering=8192, closefd=False), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # what the step has put in the place of a stream may raise anything
            stream.flush()


def _close_streams() -> None:
    """Let go of the log: a pipe is at its end only when nobody holds it."""
    _flush()
    _redirect(os.open(os.devnull, os.O_WRONLY))


def _redirect(target: int) -> None:
    """Send output to a descriptor and close it. A step may have closed 1 and 2, so that it has one of these numbers."""
    apart = fcntl.fcntl(target, fcntl.F_DUPFD_CLOEXEC, 3)
    for number in (1, 2):
        os.dup2(apart, number)
    os.close(apart)
    if target > 2:  # noqa: PLR2004 - standard error's number
        os.close(target)
