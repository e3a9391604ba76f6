"""The template: a process that has imported and loaded what every worker needs, and is forked for each of them.

Memory that nobody writes to stays shared. A process with threads must not be forked; where loading started some (Polars
does), the template says so and ends, and each worker loads for itself.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from rung.core.errors import RungError, Unavailable, rebuilt
from rung.engine.workers.keeper import receive, send
from rung.server.run import load_server
from rung.server.serving.worker import Job, become_worker, called, comes, dies_with, held_orders, keep_only, opened

_ADOPTED_S = 5.0
_LEAVING_S = 0.2


@dataclass
class Template:
    """The supervisor's end of a template. ``pid`` is 0 once it was waited for: the number may be another process's by then."""

    pid: int
    control: socket.socket
    forks: bool
    first_token: str

    def spawn(self, listener: socket.socket, ready: int) -> int:
        """Fork a worker; its pid, or 0 when the template has ended."""
        try:
            send(self.control, b"{}", (listener.fileno(), ready))
            data, _ = receive(self.control)
        except OSError:
            return 0
        return int(json.loads(data)["pid"]) if data else 0

    def close(self) -> None:
        """End it; what it forked goes on."""
        self.control.close()
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def start_template(job: Job, stopping: Callable[[], bool]) -> Template | None:
    """Fork a template and wait until it has loaded; None when told to stop meanwhile. Raises what it met when the platform could not be opened."""
    ours, theirs = socket.socketpair()
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _become_template(job, theirs, supervisor)
    theirs.close()
    if not comes(ours, stopping):
        Template(pid, ours, forks=False, first_token="").close()
        return None
    data, _ = receive(ours)
    if not data:
        ours.close()
        raise Unavailable(
            "The models could not be loaded: the process that tried has died.", code="server.template_died", hint="See above."
        )
    said: dict[str, Any] = json.loads(data)
    if "error" in said:
        ours.close()
        raise rebuilt(said["error"], said["message"], code=said["code"], hint=said["hint"])
    return Template(pid, ours, bool(said["forks"]), str(said["first_token"]))


def _become_template(job: Job, control: socket.socket, supervisor: int) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        dies_with(supervisor, signal.SIGKILL)
        keep_only(control.fileno())
        called("rung-template")
        _serve(job, control, supervisor)
    except BaseException:  # the last resort of the process
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def _serve(job: Job, control: socket.socket, supervisor: int) -> None:
    try:
        token = _load(job)
    except RungError as error:
        told = {"error": error.kind, "message": error.message, "code": error.code, "hint": error.hint}
        send(control, json.dumps(told).encode())
        return
    forks = _alone()
    send(control, json.dumps({"forks": forks, "first_token": token}).encode())
    if not forks:
        return
    gc.collect()
    gc.freeze()
    while True:
        data, fds = receive(control)
        if not data:
            return
        listener, ready = fds
        send(control, json.dumps({"pid": _forked(job, listener, ready, control, supervisor)}).encode())
        os.close(listener)
        os.close(ready)


def _alone() -> bool:
    """Whether this process has no other thread; one that was ended just now is still on its way out of the kernel."""
    until = time.monotonic() + _LEAVING_S
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
    return True


def _load(job: Job) -> str:
    """Import and load what workers need, and let go of everything a fork would share by accident."""
    from rung.server.serving.composing import preload  # noqa: PLC0415 - the supervisor imports this module and stays small

    load_server()
    platform, first = opened(job)
    try:
        preload(platform)
    finally:
        platform.close()
    return first.secret if first else ""


def _forked(job: Job, listener: int, ready: int, control: socket.socket, supervisor: int) -> int:
    """The pid of a worker that is the supervisor's own child: forked twice, the one between ends at once."""
    told, tells = os.pipe()
    with held_orders():
        between = os.fork()
        if between == 0:
            worker = os.fork()
            if worker:
                os.write(tells, str(worker).encode())
                os._exit(0)
            os.close(told)
            os.close(tells)
            control.close()
            until = time.monotonic() + _ADOPTED_S
            while os.getppid() != supervisor and time.monotonic() < until:
                time.sleep(0.0005)
            become_worker(job, socket.socket(fileno=listener), ready, supervisor=supervisor)
    os.close(tells)
    with suppress(ChildProcessError):
        os.waitpid(between, 0)
    pid = int(os.read(told, 32) or 0)
    os.close(told)
    return pid
