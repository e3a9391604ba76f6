"""The keeper: a small single-threaded process that is the parent of the processes of steps. Standard library only.

It starts a program, or forks itself after it has imported the project's modules (then it is a zygote). What it starts
leads a session of its own, dies with it, and leaves no descendant behind. It ends with the process that started it.
"""

from __future__ import annotations

import array
import ctypes
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_PDEATHSIG, _SUBREAPER = 1, 36
_MOST_FDS = 8
_HEAD = 4
_libc = ctypes.CDLL(None, use_errno=True)
Worker = Callable[[int], None]


def prctl(option: int, value: int) -> None:
    """Set a property of this process, see prctl(2)."""
    _libc.prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    prctl(_SUBREAPER, 1)


def children_of(pid: int) -> list[int]:
    """Pids of a process's living or unwaited children."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text("ascii").split())
    return found


def kill_tree(pid: int, *, itself: bool = True) -> None:
    """Kill a process and all that descend from it."""
    for child in children_of(pid):
        kill_tree(child)
    if itself:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def kill_children() -> None:
    """Kill and reap everything that descends from this process."""
    while children := children_of(os.getpid()):
        for child in children:
            kill_tree(child)
        for child in children:
            with suppress(ChildProcessError):
                os.waitpid(child, 0)


def send(connection: socket.socket, data: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send a message of any length, and descriptors with it."""
    head = len(data).to_bytes(_HEAD, "big")
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sent = connection.sendmsg([head, data], ancillary)
    if sent < len(head) + len(data):
        connection.sendall((head + data)[sent:])


def receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """A message and its descriptors; an empty one when the other side has gone."""
    fds: list[int] = []
    data = b""
    wanted = _HEAD
    while len(data) < wanted:
        try:
            part, got, _, _ = socket.recv_fds(connection, wanted - len(data), _MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            part, got = b"", []
        fds += got
        if not part:
            return b"", fds
        data += part
        if wanted == _HEAD and len(data) == _HEAD:
            wanted += int.from_bytes(data, "big")
    return data[_HEAD:], fds


class Keeper:
    """Parent of processes, told what to do over a socket.

    Orders: ``exec`` (argv, environ, cwd, descriptors: connection, status, log), ``fork`` (connection, status) and
    ``preload`` (modules, path). The end of a child is written to its status pipe: exit status and processor seconds.
    """

    def __init__(self, control: socket.socket, watched: int) -> None:
        self.control = control
        self._status: dict[int, int] = {}
        self._engine = os.pidfd_open(watched)
        self._woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._wakes = wakes

    def serve(self) -> Worker | None:
        """Work until the engine goes: None. In a forked child: what it is to do."""
        while True:
            ready, _, _ = select.select([self.control.fileno(), self._engine, self._woken], [], [])
            if self._woken in ready:
                with suppress(BlockingIOError):
                    os.read(self._woken, 4096)
            self._reap()
            if self._engine in ready:
                return None
            if self.control.fileno() in ready:
                data, fds = receive(self.control)
                if not data:
                    return None
                child = self._do(json.loads(data), fds)
                if child is not None:
                    return child

    def _do(self, order: dict[str, Any], fds: list[int]) -> Worker | None:
        if order["do"] == "preload":
            self._answer(order, preloaded(order["path"], order["modules"]))
            return None
        connection, status = fds[:2]
        pid = os.fork()
        if pid == 0:
            self._become_child(status)
            if order["do"] == "exec":
                _exec(order, connection, fds[2])
            return lambda _: _work(connection)
        for fd in (connection, *fds[2:]):
            os.close(fd)
        self._status[pid] = status
        self._answer(order, {"pid": pid})
        return None

    def _answer(self, order: dict[str, Any], found: dict[str, Any]) -> None:
        with suppress(OSError):  # the engine has gone meanwhile; the next look sees it, and ends what was started
            send(self.control, json.dumps({**found, "number": order["number"]}).encode())

    def _become_child(self, status: int) -> None:
        keeper = os.getppid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.default_int_handler)
        prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)
        os.setsid()
        adopt_orphans()
        for fd in (status, self._engine, self._woken, self._wakes, *self._status.values()):
            os.close(fd)
        self.control.close()

    def _reap(self) -> None:
        """Tell of children that have ended, and kill what they left behind, which is this process's by now."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            pipe = self._status.pop(pid, None)
            for stray in children_of(os.getpid()):
                if stray not in self._status:
                    kill_tree(stray)
            if pipe is not None:
                with suppress(OSError):
                    os.write(pipe, json.dumps({"status": status, "cpu_s": usage.ru_utime + usage.ru_stime}).encode())
                os.close(pipe)


def preloaded(path: list[str], modules: list[str]) -> dict[str, Any]:
    """Import modules before any fork; their files, and whether a fork is safe afterwards."""
    sys.path[:0] = [place for place in path if place not in sys.path]
    for name in modules:
        with suppress(BaseException):  # the worker that needs it fails in the same way, and tells of it
            importlib.import_module(name)
    trial = os.fork()  # libraries of linear algebra end their own threads when a process forks
    if trial == 0:
        os._exit(0)
    os.waitpid(trial, 0)
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_initialized()
    alone = threading.active_count() == 1 and len(os.listdir("/proc/self/task")) == 1
    return {"safe": alone and not used, "files": project_state(path)}


def project_state(path: list[str]) -> list[list[Any]]:
    """File, change time and size of every imported module that lies in one of the folders."""
    places = tuple(place.rstrip("/") + "/" for place in path)
    found = []
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.startswith(places) and "/site-packages/" not in file:
            with suppress(OSError):
                stat = Path(file).stat()
                found.append([file, stat.st_mtime_ns, stat.st_size])
    return found


def _exec(order: dict[str, Any], connection: int, log: int) -> None:
    """Become another program: its output goes to the log, its connection keeps its number."""
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.set_inheritable(connection, True)  # noqa: FBT003 - the function takes it so
        if order["cwd"]:
            os.chdir(order["cwd"])
        argv = [part.replace("{fd}", str(connection)) for part in order["argv"]]
        os.execvpe(argv[0], argv, order["environ"])  # noqa: S606 - a list, no shell
    except OSError as error:
        os.write(2, f"{order['argv'][0]} cannot be started: {error}\n".encode())
        os._exit(127)


def _work(connection: int) -> None:
    from rung.engine.workers.worker import serve  # noqa: PLC0415 - a zygote has it loaded, a plain keeper never needs it

    serve(connection, reused=True)


def main() -> None:
    """``keeper.py CONTROL PID [zygote]``."""
    adopt_orphans()
    if "zygote" in sys.argv[3:]:
        with suppress(ImportError):
            _warm()
    keeper = Keeper(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
    work = keeper.serve()
    if work is not None:
        status = 70
        try:
            work(0)
            status = 0
        except BaseException:  # the status tells of it, and the log of the attempt why
            traceback.print_exc()
        finally:
            os._exit(status)
    kill_children()
    os._exit(0)


def _warm() -> None:
    import gc  # noqa: PLC0415 - only a zygote needs it

    importlib.import_module("rung.engine.workers.worker")
    from rung.pipelines.materialisers import MATERIALISERS  # noqa: PLC0415 - as above

    MATERIALISERS.names()
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main()
