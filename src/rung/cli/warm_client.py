"""The client of a warm process: sends the command, its environment and its three streams, and waits for its exit status.

It takes the C modules beneath ``socket`` and ``signal``: those two load ``enum``, ``selectors`` and ``collections``,
which costs as much as starting Python does.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # it has no stub
import _socket
import os
import sys

from rung.cli.entry import interpreter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# these live long or change the warm process itself, so they start in a process of their own
_INT = 4  # bytes of a descriptor's number, as the kernel takes it
_FOLDER = 0o040000  # of a mode: the kind of a folder
OWN_PROCESS = {"up", "server", "serve", "worker", "warm", "demo", "completion"}


def hand_over(path: str, arguments: list[str]) -> int | None:
    """The exit status of a command run by a warm process; None when it must be run here."""
    if any(word in OWN_PROCESS for word in arguments) or not trusted(path):
        return None
    try:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.connect(path)
    except OSError:
        return None
    try:
        return _followed(connection, wish_of(arguments))
    finally:
        connection.close()


def wish_of(arguments: list[str]) -> bytes:
    """A command as it is sent: texts that end in NUL (none of them can hold one), counted where their number is open."""
    environ = [part for key, value in os.environb.items() for part in (key, value)]
    words = [os.fsencode(word) for word in arguments]
    mask = os.umask(0o077)
    os.umask(mask)
    head = [interpreter().encode("utf-8", "surrogateescape"), os.getcwdb(), str(mask).encode(), str(len(words)).encode()]
    return b"".join(part + b"\0" for part in [*head, *words, *environ])


def trusted(path: str) -> bool:
    """Whether the socket's folder belongs to this user alone, so that nobody else can listen there."""
    try:
        folder = os.stat(os.path.dirname(path), follow_symlinks=False)
    except OSError:
        return False
    return folder.st_mode & 0o170000 == _FOLDER and folder.st_uid == os.getuid() and not folder.st_mode & 0o077


def _followed(connection: _socket.socket, wish: bytes) -> int | None:
    streams = b"".join(number.to_bytes(_INT, sys.byteorder) for number in (0, 1, 2))
    try:
        connection.sendmsg([len(wish).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
        connection.sendall(wish)
        begun = _line(connection)
    except OSError:
        return None
    if begun is None:
        return None  # it is of another version, or ends just now
    pid = begun

    def pass_on(number: int, frame: Any) -> None:
        try:  # noqa: SIM105 - contextlib would cost more than all the rest
            os.kill(pid, number)
        except ProcessLookupError:
            pass  # it has just ended, and that is told next

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        ended = _line(connection)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if ended is None:
        return 1  # the warm process was killed; its child went with it
    if ended >= 0:
        return ended
    signal.signal(-ended, signal.SIG_DFL)
    os.kill(os.getpid(), -ended)
    return 1


def _line(connection: _socket.socket) -> int | None:
    """A number on a line: a process, its exit status, or minus the signal that ended it; None when the other side has gone."""
    held = b""
    while not held.endswith(b"\n"):
        part = connection.recv(64)
        if not part:
            return None
        held += part
    return int(held)
