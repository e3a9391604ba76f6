"""Messages between a process and its model's: a head of fixed size, then raw arrays. Standard library and NumPy only."""

from __future__ import annotations

import os
import select
import struct
import time

_HEAD = struct.Struct("<cIIQ")
_MOST = 1 << 40
_CHUNK = 1 << 20
CONFIG, READY, MATRIX, FRAME, SCORES, ERROR = b"C", b"Y", b"M", b"F", b"S", b"E"
Message = tuple[bytes, int, int, bytes]


def send(fd: int, kind: bytes, payload: bytes | memoryview, rows: int = 0, columns: int = 0, *, until: float | None = None) -> None:
    """Write a message whole. Raises TimeoutError, BrokenPipeError."""
    head = _HEAD.pack(kind, rows, columns, len(payload))
    if len(payload) < _CHUNK >> 4:
        _write(fd, memoryview(head + payload), until)
        return
    _write(fd, memoryview(head), until)
    _write(fd, memoryview(payload), until)


def receive(fd: int, *, until: float | None = None) -> Message:
    """Read a message whole. Raises TimeoutError when it did not come, EOFError when the other side is gone."""
    kind, rows, columns, length = _HEAD.unpack(_read(fd, _HEAD.size, until))
    if length > _MOST:
        raise EOFError("the message has no sensible length")
    return kind, rows, columns, bytes(_read(fd, length, until))


def _write(fd: int, data: memoryview, until: float | None) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            _wait(fd, select.POLLOUT, until)


def _read(fd: int, length: int, until: float | None) -> bytearray:
    held = bytearray()
    while len(held) < length:
        try:
            part = os.read(fd, min(length - len(held), _CHUNK))
        except BlockingIOError:
            _wait(fd, select.POLLIN, until)
            continue
        except ConnectionError:
            part = b""
        if not part:
            raise EOFError("the other side is gone")
        held += part
    return held


def _wait(fd: int, event: int, until: float | None) -> None:
    poll = select.poll()
    poll.register(fd, event)
    left = None if until is None else max(0.0, (until - time.monotonic()) * 1000)
    if not poll.poll(left):
        raise TimeoutError("the other side is silent")
