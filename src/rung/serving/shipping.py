"""The prediction log between machines: frames of a node's segment as a segment of their own.

A part begins with what its frames refer to (sources and callers defined before them), so it is read by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rung.core.ids import new_id
from rung.serving.packing import CALLER, HEADER, MAGIC, SOURCE, VERSION, definition
from rung.serving.walking import Cursor

MOST_BYTES = 4 << 20
_ROWS_AT = 8  # in a frame's body, which begins behind its checksum
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True)
class Part:
    """Bytes ``start`` to ``end`` of a segment, as a segment of their own; the first answer in it, and how many rows it has."""

    start: int
    end: int
    frames: bytes
    answered_us: int
    rows: int


class Outgoing:
    """Reads a segment, open or sealed, part by part from where the platform's copy ends. Close it."""

    def __init__(self, path: Path) -> None:
        self._cursor = Cursor(path)
        try:
            self._ahead = Cursor(path)
        except OSError:  # sealed in between, under another name
            self._cursor.close()
            raise

    @property
    def offset(self) -> int:
        """Up to where parts were given out, or passed over."""
        return self._cursor.offset

    def close(self) -> None:
        """Give the file back."""
        self._cursor.close()
        self._ahead.close()

    def begin(self, start: int) -> None:
        """Pass over what the platform has; parts begin there, be that before or behind those given out."""
        cursor = self._cursor
        if start < cursor.offset:
            cursor.rewind()
        if start > cursor.offset:
            for end, _ in cursor.entries():
                if end >= start:
                    return

    def next(self, most: int = MOST_BYTES) -> Part | None:
        """What was answered since, at most so many bytes (or one entry); None of nothing."""
        cursor = self._cursor
        start, before = cursor.offset, b"".join(_definitions(cursor))
        rows, first = 0, cursor.first_answer_us()
        for end, body in cursor.entries():
            rows += int.from_bytes(body[_ROWS_AT : _ROWS_AT + 4], "little")
            if end - start >= most:
                break
        if not first:
            return None
        header = HEADER.pack(MAGIC, VERSION, 0, 0, bytes.fromhex(new_id()))
        return Part(start, cursor.offset, header + before + cursor.raw(start, cursor.offset), first, rows)

    def waiting(self, shipped: int) -> tuple[int, int]:
        """How many bytes were written behind a place, and when the first entry there was answered (us; 0: none)."""
        for _ in self._ahead.entries():
            pass
        behind = self._ahead.offset - shipped
        if behind <= 0:
            return 0, 0
        self.begin(shipped)
        return behind, self._cursor.first_answer_us()


def _definitions(cursor: Cursor) -> Iterator[bytes]:
    """What frames from here on may refer to."""
    for source in cursor.sources.values():
        yield definition(SOURCE, _encode(source))
    for number, caller in enumerate(cursor.callers[1:], start=1):
        yield definition(CALLER, number.to_bytes(4, "little") + caller.encode())
