"""The client of a warm process: sends the command, its environment and its three streams, and waits for its exit status.

It takes the C modules beneath ``socket`` and ``signal``: those two load ``enum``, ``selectors`` and ``collections``,
which costs as much as starting Python does.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # it has no stub
import _socket
import os
import sys

from rung.cli.warm_place import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
LISTENS = b"+"  # what the warm process says first
_LISTENS_S = 10.0  # longer than a busy machine stands still, for whoever waits in vain gives it up for all
_STANDARD_ERROR = 2
_INT = 4  # bytes of a descriptor's number, as the kernel takes it
_FOLDER = 0o040000  # of a mode: the kind of a folder
# these live long or change the warm process itself, so they start in a process of their own
OWN_PROCESS = {"up", "server", "serve", "worker", "warm", "demo", "completion"}


def hand_over(path: str, arguments: list[str]) -> int | None:
    """The exit status of a command run by a warm process; None when it must be run here."""
    return ask(path, arguments) if OWN_PROCESS.isdisjoint(arguments) else None


def ask(path: str, arguments: list[str]) -> int | None:
    """As :func:`hand_over`, for any words: the warm process itself takes ``warm --idle SECONDS``."""
    connection = connected(path)
    if connection is None:
        return None
    try:
        wish = wish_of(arguments)
    except FileNotFoundError:  # the folder is gone
        connection.close()
        return None
    try:
        return _followed(connection, wish)
    finally:
        connection.close()


def connected(path: str) -> _socket.socket | None:
    """A connection to a warm process that listens; None when there is none, it is stopped, or somebody else could listen there.

    It says that it listens before it is told anything: so a command that runs here for want of an answer does not run there too.
    """
    if not trusted(path):
        return None
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(_LISTENS_S)
        connection.connect(path)
        if connection.fileno() > _STANDARD_ERROR and connection.recv(len(LISTENS)) == LISTENS:
            connection.settimeout(None)
            return connection
    except TimeoutError:  # it hangs, or somebody has stopped it: let nobody else wait for it, and it ends when it finds its socket gone
        _forget(path)
    except OSError:
        pass
    connection.close()
    return None


def _forget(path: str) -> None:
    try:  # noqa: SIM105 - contextlib would cost more than all the rest
        os.unlink(path)
    except OSError:
        pass


def wish_of(arguments: list[str]) -> bytes:
    """A command as it is sent, its name first: texts that end in NUL (none can hold one), counted where their number is open."""
    environ = [part for key, value in os.environb.items() for part in (key, value)]
    words = [os.fsencode(word) for word in (sys.argv[0], *arguments)]
    mask = os.umask(0o077)
    os.umask(mask)
    ignored = ",".join(str(int(number)) for number in _PASSED_ON if signal.getsignal(number) == signal.SIG_IGN)
    head = [identity() or b"", os.getcwdb(), str(mask).encode(), ignored.encode(), str(len(words)).encode()]
    return b"".join(part + b"\0" for part in [*head, *words, *environ])


def trusted(path: str) -> bool:
    """Whether the socket's folder belongs to this user alone, so that nobody else can listen there."""
    try:
        folder = os.stat(os.path.dirname(path), follow_symlinks=False)
    except OSError:
        return False
    return folder.st_mode & 0o170000 == _FOLDER and folder.st_uid == os.getuid() and not folder.st_mode & 0o077


def _followed(connection: _socket.socket, wish: bytes) -> int | None:
    """The exit status of a command; None when the warm process has not taken it."""
    streams = b"".join(number.to_bytes(_INT, sys.byteorder) for number in (0, 1, 2))
    pid = 0
    early: list[int] = []

    def pass_on(number: int, frame: Any) -> None:
        if not pid:
            early.append(number)
            return
        try:
            if number != signal.SIGTSTP:
                os.kill(pid, number)
                return
            os.killpg(pid, signal.SIGSTOP)  # it has no terminal that would stop it
            os.kill(os.getpid(), signal.SIGSTOP)
            os.killpg(pid, signal.SIGCONT)  # somebody has let this process go on
        except ProcessLookupError:
            pass  # it has just ended, and that is told next

    heard = [number for number in (*_PASSED_ON, signal.SIGTSTP) if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores some
    before = {number: signal.signal(number, pass_on) for number in heard}
    try:
        try:
            connection.sendmsg([len(wish).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
            connection.sendall(wish)
            pid = _line(connection) or 0  # nothing: it is of another version, or ends just now
        except OSError:  # it has gone, or one of the three streams is closed
            pid = 0
        for number in early if pid else ():
            pass_on(number, None)
        ended = _ended(connection) if pid else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if not pid:
            for number in early:
                os.kill(os.getpid(), number)
    return ended


def _ended(connection: _socket.socket) -> int:
    """The exit status of a command that runs; a signal that ended it ends this process too."""
    try:
        ended = _line(connection)
    except OSError:
        ended = None
    if ended is None:
        os.write(2, b"Rung's warm process was killed, and this command with it. Give it again; RUNG_WARM=0 keeps it to itself.\n")
        return 1
    if ended < 0:
        if -ended != signal.SIGKILL:
            signal.signal(-ended, signal.SIG_DFL)
        os.kill(os.getpid(), -ended)
    return ended


def _line(connection: _socket.socket) -> int | None:
    """A number on a line: a process, its exit status, or minus the signal that ended it; None when the other side has gone."""
    held = b""
    while not held.endswith(b"\n"):
        part = connection.recv(1)  # no further: the next line may be there already
        if not part:
            return None
        held += part
    return int(held)
