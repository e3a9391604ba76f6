"""The warm process: has everything loaded that a command needs, and forks itself for each one.

It belongs to one user, listens on a socket in a folder nobody else can enter, has one thread (a fork copies no other),
opens no database and no project. It holds a lock for as long as it listens, so that there is one of a kind, and ends by itself
when idle, or when Rung's files have changed under it.
"""

from __future__ import annotations

import array
import gc
import os
import selectors
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from rung.cli.leaving import leave
from rung.cli.warm_client import LISTENS
from rung.cli.warm_place import identity, socket_path
from rung.cli.warm_start import FAILED, USED, note, tidy

_WISH_BYTES = 4 << 20
_PATIENCE_S = 5.0
_FORKING = {signal.SIGTERM, signal.SIGINT}


@dataclass
class _Call:
    """A command that runs for somebody: his connection and its process."""

    connection: socket.socket
    pid: int


@dataclass
class _Wish:
    """What a client asks for."""

    name: str
    arguments: list[str]
    folder: bytes
    environ: dict[bytes, bytes]
    umask: int
    ignored: list[int] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)


def preload() -> None:
    """Load what commands need by doing what most of them do: open a platform, run a pipeline, read it back; all in a folder thrown away.

    So the children find modules loaded, records decoded once and SQL compiled once.
    """
    from rung.app.local import local_transport  # noqa: PLC0415
    from rung.cli.main import cli  # noqa: PLC0415
    from rung.client.client import Client  # noqa: PLC0415
    from rung.core.requests import import_area  # noqa: PLC0415
    from rung.core.settings import load_settings  # noqa: PLC0415
    from rung.pipelines.project import forget_project  # noqa: PLC0415

    for name in ("run", "runs", "pipeline", "model", "data"):
        cli.get_command(cli.make_context("rung", ["--help"], resilient_parsing=True), name)
    for name in ("pipelines", "tracking"):
        import_area(name)
    for name in ("ctypes", "shutil", "subprocess", "tempfile"):  # what most commands import when they have got so far
        import_module(name)
    with tempfile.TemporaryDirectory(prefix="rung-warm-") as name:
        folder = Path(name).resolve()
        (folder / "rung.toml").write_text('home = "home"\npipelines = ["rung_rehearsal"]\n')
        (folder / "rung_rehearsal.py").write_text(_REHEARSAL)
        try:
            for _ in range(2):  # the second finds everything cached, in a home that is there already
                client = Client(local_transport(load_settings(folder, environ={})))
                try:
                    run = client.pipelines.run("rehearsal")
                    client.pipelines.get(run.id)
                finally:
                    client.close()
        finally:
            forget_project(folder)


_REHEARSAL = """
from rung import pipeline, step


@step
def nothing(before: int) -> int:
    return before


@pipeline
def rehearsal() -> int:
    return nothing(nothing(nothing(0)))  # several, for rows in the plural are other statements than one row
"""


class Host:
    """Listens, forks, and tells each client how its command ended."""

    def __init__(self, path: Path, *, idle_s: float, lock: int | None = None) -> None:
        self.path = path
        self.idle_s = idle_s
        self._lock = lock
        self._calls: dict[int, _Call] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._wake_read, self._wake_write = socket.socketpair()
        self._marks = _marks()
        self._used = time.monotonic()

    def serve(self) -> _Wish | None:
        """Work until idle or stopped; in a forked child, what it is to do."""
        try:
            while not self._over():
                for key, _ in self._selector.select(timeout=1.0):
                    found = self._turn(key)
                    if found is not None:
                        return found
        finally:
            if os.getpid() == self._pid:
                self._close()
        return None

    def open(self) -> None:
        """Listen. Raises OSError, for a path that is too long or a folder that is not there."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            self._listener.bind(str(self.path))
        finally:
            os.umask(mask)
        self._listener.listen(64)
        self._pid = os.getpid()
        self._inode = self.path.stat().st_ino
        for held in (self._listener, self._wake_read, self._wake_write):
            held.settimeout(0)
        signal.set_wakeup_fd(self._wake_write.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "idle_s", 0.0))
        self._selector.register(self._listener, selectors.EVENT_READ, "listener")
        self._selector.register(self._wake_read, selectors.EVENT_READ, "wake")
        gc.collect()
        gc.freeze()  # what is loaded is shared with the children, so that collecting must not touch it

    def _over(self) -> bool:
        if self._calls:
            self._used = time.monotonic()
            return False  # they would end with this process, whoever has taken its place
        try:
            replaced = self.path.stat().st_ino != self._inode
        except OSError:
            replaced = True
        return replaced or time.monotonic() - self._used >= self.idle_s

    def _turn(self, key: selectors.SelectorKey) -> _Wish | None:
        if key.data == "listener":
            with suppress(BlockingIOError):
                return self._accepted(self._listener.accept()[0])
        elif key.data == "wake":
            with suppress(BlockingIOError):
                self._wake_read.recv(4096)
            self._reap()
        else:
            self._hung_up(key.data)
        return None

    def _accepted(self, connection: socket.socket) -> _Wish | None:
        connection.settimeout(_PATIENCE_S)
        wish = None
        with suppress(OSError, ValueError):
            connection.sendall(LISTENS)
            wish = _read(connection)
        if wish is not None and wish.arguments[:2] == ["warm", "--idle"]:
            self._stay(connection, wish)
            return None
        if wish is None or _marks() != self._marks:
            connection.close()
            if wish is not None:  # our files have changed: the client runs its command itself, and the next start is fresh
                self.idle_s = 0.0
                self.path.unlink(missing_ok=True)
                _close_all(wish.streams)
                self._unlock()
            return None
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _FORKING)  # what the child is sent waits until it is no longer this process's copy
        pid = os.fork()
        if pid == 0:
            self._become(connection)
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            return wish
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        _close_all(wish.streams)
        call = _Call(connection, pid)
        self._calls[pid] = call
        self._used = time.monotonic()
        with suppress(OSError):
            connection.sendall(b"%d\n" % pid)
        connection.settimeout(0)
        self._selector.register(connection, selectors.EVENT_READ, call)
        return None

    def _stay(self, connection: socket.socket, wish: _Wish) -> None:
        """Take another idle time, which somebody has asked for."""
        _close_all(wish.streams)
        with suppress(OSError, ValueError):
            self.idle_s = float(wish.arguments[2])
            connection.sendall(b"%d\n0\n" % os.getpid())
        connection.close()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)  # a copy that a fork holds would keep it, so children close theirs too
            self._lock = None

    def _become(self, connection: socket.socket) -> None:
        """In the child: let go of what belongs to the warm process."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        for held in (connection, self._listener, self._wake_read, self._wake_write, *(call.connection for call in self._calls.values())):
            held.close()
        self._unlock()
        os.setpgid(0, 0)  # so that it is stopped, and goes on, together with what it starts
        _end_with_parent(self._pid)

    def _reap(self) -> None:
        while self._calls:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            call = self._calls.pop(pid, None)
            if call is None:
                continue
            told = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            with suppress(KeyError):
                self._selector.unregister(call.connection)
            with suppress(OSError):
                call.connection.settimeout(_PATIENCE_S)
                call.connection.sendall(b"%d\n" % told)
            call.connection.close()

    def _hung_up(self, call: _Call) -> None:
        """The client has gone: it was killed, for every other signal it passes on. So its command is killed, as it would have been."""
        if self._calls.get(call.pid) is not call:
            return  # its command has ended in this very round
        with suppress(OSError):  # it went without a look at what it was told
            if call.connection.recv(64):
                return
        self._selector.unregister(call.connection)
        with suppress(ProcessLookupError):
            os.kill(call.pid, signal.SIGKILL)

    def _close(self) -> None:
        with suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()
        self._listener.close()


def take_on(wish: _Wish) -> None:
    """Make this forked process what the client's own would have been: streams, folder, environment, arguments."""
    for target, held in enumerate(wish.streams):
        os.dup2(held, target)
    _close_all(wish.streams)
    for number in wish.ignored:
        signal.signal(number, signal.SIG_IGN)
    os.environb.clear()
    os.environb.update(wish.environ)
    os.umask(wish.umask)
    os.chdir(wish.folder)
    time.tzset()
    tempfile.tempdir = None  # it has been looked for, in another's environment
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        buffering = 1 if mode == "w" and (number == 2 or os.isatty(number)) else -1  # noqa: PLR2004 - standard error
        errors = "backslashreplace" if number == 2 else "strict"  # noqa: PLR2004
        encoding = sys.__stdout__.encoding if sys.__stdout__ else "utf-8"
        stream = open(number, mode, buffering, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115 - for the process's life
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = [wish.name, *wish.arguments]


def _read(connection: socket.socket) -> _Wish | None:
    """A client's wish with its streams; None when it comes from another user or another interpreter, or was broken off."""
    credentials = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    head, ancillary, _, _ = connection.recvmsg(8, socket.CMSG_LEN(3 * array.array("i").itemsize))
    streams = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            streams.frombytes(data[: len(data) - len(data) % streams.itemsize])
    try:
        return _wish(_body(connection, head), list(streams), ours=credentials[1] == os.getuid())
    except (OSError, ValueError):
        _close_all(list(streams))  # or whoever reads what the command should have written waits for its end
        return None


def _body(connection: socket.socket, head: bytes) -> bytes:
    """What comes behind the length. Raises ValueError when it does not come whole, OSError."""
    size, body = int.from_bytes(head, "big"), b""
    while len(head) == 8 and len(body) < size <= _WISH_BYTES:  # noqa: PLR2004 - the length comes first
        part = connection.recv(min(1 << 16, size - len(body)))
        if not part:
            break
        body += part
    if len(body) != size:
        raise ValueError("the wish was broken off")
    return body


def _wish(body: bytes, streams: list[int], *, ours: bool) -> _Wish:
    """A wish from its bytes. Raises ValueError for a stranger's."""
    alike, folder, umask, ignored, count, *rest = body.split(b"\0")[:-1]
    if not ours or alike != identity() or len(streams) != 3:  # noqa: PLR2004 - in, out, error
        raise ValueError("a stranger's wish")
    words, environ = rest[: int(count)], rest[int(count) :]
    told = dict(zip(environ[::2], environ[1::2], strict=True))
    numbers = [int(number) for number in ignored.split(b",") if number]
    name, *arguments = (os.fsdecode(word) for word in words)
    return _Wish(name, arguments, folder, told, int(umask), numbers, streams)


def _marks() -> tuple[tuple[str, int], ...]:
    """Files that were loaded from, with their times: another one of either means another program."""
    found = {
        str(Path(held.__file__).parent) for name, held in sys.modules.copy().items() if name.partition(".")[0] == "rung" and held.__file__
    }
    site = str(Path(selectors.__file__).parents[1] / "site-packages")
    places = [*sorted(found), *(path for path in sys.path if path.endswith("site-packages")), site]
    newest = []
    for place in dict.fromkeys(places):
        with suppress(OSError):
            files = [entry.stat().st_mtime_ns for entry in os.scandir(place) if entry.name.endswith(".py")]
            newest.append((place, max([os.stat(place).st_mtime_ns if "site-packages" in place else 0, *files])))
    return tuple(newest)


def _close_all(numbers: list[int]) -> None:
    for number in numbers:
        with suppress(OSError):
            os.close(number)


def _end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the warm one is killed (prctl PR_SET_PDEATHSIG): what it did goes on elsewhere."""
    with suppress(OSError, AttributeError):
        import ctypes  # noqa: PLC0415

        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main(path: str, idle_s: float, lock: int) -> None:
    """Serve, holding the descriptor of the lock; in a child, run the command."""
    sys.path[:] = [place for place in sys.path if place not in {"", "/"}]  # -m adds the folder it is started in
    try:
        host = _loaded(path, idle_s, lock)
    except BaseException as error:
        note(lock, FAILED + f"{error}\n".encode("utf-8", "replace"))  # for `rung warm status`, and so that it is not tried again at once
        raise
    wish = host.serve()
    if wish is not None:
        take_on(wish)
        leave(_run())


def _loaded(path: str, idle_s: float, lock: int) -> Host:
    """A warm process that listens. Raises SystemExit, OSError, and whatever a command raises that cannot work here."""
    if path != socket_path():
        raise SystemExit("It would not be found by who started it: an interpreter of other options, or another environment.")
    preload()
    until = time.monotonic() + _PATIENCE_S
    while threading.active_count() > 1 and time.monotonic() < until:
        time.sleep(0.01)  # those of what was loaded are just ending
    if threading.active_count() > 1:
        raise SystemExit("A loaded library has started threads, so that this process cannot be forked.")
    host = Host(Path(path), idle_s=idle_s, lock=lock)
    host.open()
    note(lock, USED)
    tidy(path)
    return host


def _run() -> int:
    """Run the command; its exit status."""
    from rung.cli.main import main as command  # noqa: PLC0415

    try:
        command()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        sys.stderr.write(f"{error.code}\n")
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
