"""The format of packs: frames one behind the other, each a header and the bytes of a blob.

A header holds a sign, kind, length, instant in ns, digest, and a checksum of all that and the bytes, seeded with the
pack's name: bytes inside a blob that look like a frame never count as one, and a pack may not be renamed. Damage in the
midst costs the frames it hit; only what no whole frame follows was torn off by a crash.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HEADER = struct.Struct("<4sBIQ32sI")
BLOB, GONE = 1, 2
_FRONT = struct.Struct("<4sBIQ32s")
_SIGN = b"RPK2"
_MOST = 1 << 30  # a longer frame than any we write: a damaged header
_WINDOW = 1 << 20


class Frame(NamedTuple):
    """A whole frame of a pack: what it says, and where its bytes are."""

    kind: int
    digest: bytes
    at: int
    size: int
    stamp: int

    @property
    def end(self) -> int:
        """Where the next frame starts."""
        return self.at + self.size


def seed_of(name: str) -> int:
    """What the checksums of a pack start from."""
    return zlib.crc32(name.encode())


def header(seed: int, kind: int, stamp: int, digest: bytes, data: bytes) -> bytes:
    """The header to write in front of the bytes."""
    front = _FRONT.pack(_SIGN, kind, len(data), stamp, digest)
    return front + zlib.crc32(data, zlib.crc32(front, seed)).to_bytes(4, "little")


def frames(path: Path, start: int = 0) -> Iterator[Frame]:
    """Whole frames of a pack from an offset on; what is damaged between them is passed over."""
    seed = seed_of(path.name)
    with path.open("rb") as file:
        handle, at = file.fileno(), start
        size = os.fstat(handle).st_size
        while at + HEADER.size <= size:
            frame, step = _frame_at(handle, at, size, seed)
            if frame is not None:
                yield frame
            at = step or _next_sign(handle, at + 1, size)


def claimed(path: Path) -> int | None:
    """A handle of a pack that nobody else appends to while it is open; None when somebody does, or the pack has gone."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # held by another, or taken away since it was opened
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):
            return handle
    os.close(handle)
    return None


def write_all(handle: int, data: bytes, at: int) -> None:
    """Write bytes at an offset, however many calls it takes."""
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, at)
        view, at = view[written:], at + written


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _frame_at(handle: int, at: int, size: int, seed: int) -> tuple[Frame | None, int]:
    """The frame at an offset, None when it is not whole; and where to go on, 0 when its length cannot be believed."""
    head = os.pread(handle, HEADER.size, at)
    sign, kind, length, stamp, digest, crc = HEADER.unpack(head)
    end = at + HEADER.size + length
    if sign != _SIGN or length > _MOST or end > size:
        return None, 0
    data = os.pread(handle, length, at + HEADER.size)
    if len(data) == length and zlib.crc32(data, zlib.crc32(head[: _FRONT.size], seed)) == crc:
        return Frame(kind, digest, at + HEADER.size, length, stamp), end
    follows = os.pread(handle, len(_SIGN), end)
    return None, end if follows == _SIGN else 0


def _next_sign(handle: int, at: int, size: int) -> int:
    """Where the next sign is, or the end of the file."""
    while at < size:
        window = os.pread(handle, _WINDOW, at)
        found = window.find(_SIGN)
        if found >= 0:
            return at + found
        if len(window) < _WINDOW:
            break
        at += _WINDOW - len(_SIGN) + 1
    return size
