"""A journal: what one process logged to a run, appended through shared memory so that it outlives the process.

A frame is ``size | CRC | kind | body``. A shared mapping belongs to the kernel, so after kill -9 every append that
returned is still there; reading ends at a frame that was cut short. The header holds two marks of whoever sends:
what lies before ``sent`` has arrived, what lies before ``sealed`` went into a batch that may have arrived. A resend
takes the same frames under the same batch id, and so counts once.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from rung.core.ids import new_id

SUFFIX = ".journal"
MAGIC = b"RUNGJ001"
START = 64
POINT, KEY, REQUEST, BLOB = 1, 2, 3, 4
MARKS = struct.Struct("<QQ")  # sealed, sent
MARKS_AT = len(MAGIC)
HEAD = struct.Struct("<II")  # size of the frame, CRC of what follows
POINTS = struct.Struct("<IIB3xIqqd")  # ..., kind, key, step, at, value
_POINT = struct.Struct("<B3xIqqd")
KEY_HEAD = struct.Struct("<B3xI")
_FIRST, _LATER = 1 << 18, 1 << 22
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def framed(content: bytes) -> bytes:
    """A frame around kind and body, padded to 8 bytes so that marks and frames stay aligned."""
    size = frame_size(len(content))
    content = content.ljust(size - HEAD.size, b"\0")
    return HEAD.pack(size, zlib.crc32(content)) + content


def frame_size(content: int) -> int:
    """Bytes a frame takes around so many bytes of kind and body."""
    return HEAD.size + (content + 7 & ~7)


class Writer:
    """Appends to a journal in a folder, going on in a new file when one is full. Threads may share it.

    ``allowed`` is asked before a file of so many bytes is made; when it answers no, appends are refused until it says yes.
    """

    def __init__(self, folder: Path, allowed: Callable[[int], bool] = lambda _: True) -> None:
        self._folder = folder
        self._allowed = allowed
        self._map: mmap.mmap | None = None
        self._file = -1
        self._begin()

    def _begin(self) -> None:
        self._name = new_id()
        self._number = 0
        self._lock = threading.Lock()
        self._keys: dict[str, int] = {}
        self._path = self._folder
        self._end = self._size = 0
        self._filled: dict[Path, int] = {}

    def point(self, key: str, value: float, step: int, at: int) -> bool:
        """Append a point; False when there is no room. ``at`` in microseconds since 1970."""
        with self._lock:
            index = self._keys.get(key)
            end = self._end + POINTS.size
            if index is None or end > self._size:
                if not self._room([key], POINTS.size):
                    return False
                index, end = self._keys[key], self._end + POINTS.size
            body = _POINT.pack(POINT, index, step, at, value)
            self._map[self._end : end] = HEAD.pack(POINTS.size, zlib.crc32(body)) + body  # type: ignore[index]  # there is room, so there is a file
            self._end = end
            return True

    def points(self, values: Sequence[tuple[str, float]], step: int, at: int) -> bool:
        """Append points of one step side by side in one file; False when there is no room for all."""
        with self._lock:
            if not self._room([key for key, _ in values], POINTS.size * len(values)):
                return False
            frames = []
            for key, value in values:
                body = _POINT.pack(POINT, self._keys[key], step, at, value)
                frames.append(HEAD.pack(POINTS.size, zlib.crc32(body)) + body)
            self._put(b"".join(frames))
            return True

    def request(self, operation: str, body: bytes) -> bool:
        """Append a request, to be made as it stands when the journal is sent; False when there is no room."""
        return self._append(bytes([REQUEST]) + operation.encode() + b"\0" + len(body).to_bytes(8, "little") + body)

    def blob(self, digest: str) -> bool:
        """Append that a blob lies beside the journal and must arrive before what follows."""
        return self._append(bytes([BLOB]) + digest.encode())

    def waiting(self) -> int:
        """Bytes appended that have not arrived, whoever sends them."""
        with self._lock:
            own = 0 if self._map is None else self._end - max(MARKS.unpack_from(self._map, MARKS_AT)[1], START)
            for path in list(self._filled):
                try:
                    own += path.stat().st_size
                except FileNotFoundError:  # it has arrived
                    del self._filled[path]
            return own

    def end_of(self, path: Path) -> int:
        """Place before which a file holds nothing but whole frames of this writer; 0 for another's."""
        return self._end if path == self._path else self._filled.get(path, 0)

    def ready(self) -> bool:
        """Have a file, for nobody takes the folder away while there is one; False when there is no room for it."""
        with self._lock:
            return self._map is not None or self._open(0)

    def close(self) -> None:
        """Append no more; whoever sends deletes the file when it is through."""
        with self._lock:
            self._let_go()

    def after_fork(self) -> None:
        """In a forked child: leave the parent's file to the parent, and begin one of one's own."""
        self._let_go(locked=False)
        self._begin()

    def _append(self, content: bytes) -> bool:
        with self._lock:
            if not self._room([], frame_size(len(content))):
                return False
            self._put(framed(content))
            return True

    def _room(self, keys: Sequence[str], need: int) -> bool:
        """Make room for frames of so many bytes with these keys defined before them."""
        fresh = [key for key in dict.fromkeys(keys) if key not in self._keys]
        if self._map is None or self._end + need + _definitions(fresh) > self._size:
            fresh = list(dict.fromkeys(keys))
            if not self._open(need + _definitions(fresh)):
                return False
        for key in fresh:
            index = len(self._keys)
            self._put(framed(KEY_HEAD.pack(KEY, index) + key.encode()))
            self._keys[key] = index
        return True

    def _put(self, frames: bytes) -> None:
        end = self._end + len(frames)
        self._map[self._end : end] = frames  # type: ignore[index]  # there is room, so there is a file
        self._end = end

    def _open(self, need: int) -> bool:
        size = max(_LATER if self._number else _FIRST, (START + need + mmap.PAGESIZE - 1) & -mmap.PAGESIZE)
        path = self._folder / f"{self._name}-{self._number:06d}{SUFFIX}"
        for _ in range(3):
            if not self._allowed(size):
                return False
            try:
                file, mapped = _new_file(path, size)
                break
            except FileNotFoundError:  # whoever sent what was in the folder has just removed it
                continue
            except OSError as error:
                if error.errno in _NO_SPACE:
                    return False
                raise
        else:
            return False
        self._let_go()
        self._path, self._file, self._map, self._size, self._end = path, file, mapped, size, START
        self._number += 1
        self._keys = {}
        return True

    def _let_go(self, *, locked: bool = True) -> None:
        if self._map is None:
            return
        if locked:
            self._filled[self._path] = self._end
            fcntl.flock(self._file, fcntl.LOCK_UN)  # a program that a thread starts just now has a copy of the file until it runs
        self._map.close()
        os.close(self._file)
        self._map, self._file, self._size, self._end = None, -1, 0, 0


def _new_file(path: Path, size: int) -> tuple[int, mmap.mmap]:
    fresh = path.with_suffix(".new")
    file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)  # held while somebody may still append
        os.posix_fallocate(file, 0, size)  # a full disk is told here, not by a signal in the middle of an append
        mapped = mmap.mmap(file, size)
        mapped[:START] = (MAGIC + MARKS.pack(START, START)).ljust(START, b"\0")
        fresh.rename(path)
    except OSError:
        os.close(file)
        fresh.unlink(missing_ok=True)
        raise
    return file, mapped


def _definitions(keys: Sequence[str]) -> int:
    return sum(frame_size(KEY_HEAD.size + len(key.encode())) for key in keys)
