"""Counts within windows, kept in a small file that all processes of a machine share.

    slot = key:u64 window:i64 count:u64          little-endian; a key of 0 is an empty slot

Slots are found by the hash of a key with its window, and then one after the other. A slot of a window older than the one
before is free for anybody, so the file never grows; rows that come two windows late are counted anew.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar

from rung.core.errors import Unavailable

_SLOT = struct.Struct("<QqQ")
_SLOTS = 1 << 16
_PROBES = 64


class FileCounter:
    """Counts of one node, by key and window."""

    _open: ClassVar[dict[Path, FileCounter]] = {}
    _opening: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, _SLOTS * _SLOT.size)
        self._map = mmap.mmap(self._file, _SLOTS * _SLOT.size)
        self._lock = threading.Lock()
        self._path, self._pid = path, os.getpid()

    @classmethod
    def of(cls, folder: Path, name: str) -> FileCounter:
        """The counter of that name, one for each process."""
        path = folder / f"{blake2b(name.encode(), digest_size=12).hexdigest()}.counts"
        with cls._opening:
            found = cls._open.get(path)
            if found is None:
                found = cls._open[path] = cls(path)
            return found

    def take(self, key: str, window: int, limit: int) -> bool:
        """Count one more of a key in a window, unless there were ``limit`` already.

        Raises:
            Unavailable: so many keys are counted in this window that their places are full.
        """
        number = int.from_bytes(blake2b(f"{window}\x1f{key}".encode(), digest_size=8).digest(), "little") or 1
        self._after_fork()
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                return self._taken(number, window, limit)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _taken(self, number: int, window: int, limit: int) -> bool:
        free = -1
        for probe in range(_PROBES):
            place = ((number + probe) % _SLOTS) * _SLOT.size
            key, held, count = _SLOT.unpack_from(self._map, place)
            if key == number and held == window:
                if count >= limit:
                    return False
                _SLOT.pack_into(self._map, place, number, window, count + 1)
                return True
            if free < 0 and (key == 0 or held < window - 1):
                free = place
            if key == 0:
                break
        if free < 0:
            raise Unavailable(
                "Too many entities were acted on in this window to count more.", code="graph.counter_full", hint="Choose a shorter window."
            )
        if limit <= 0:
            return False
        _SLOT.pack_into(self._map, free, number, window, 1)
        return True

    def _after_fork(self) -> None:
        """A forked worker shares its parent's lock on the file; it needs an opening of its own."""
        if self._pid == os.getpid():
            return
        with self._opening:
            if self._pid != os.getpid():
                self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
                self._map = mmap.mmap(self._file, _SLOTS * _SLOT.size)
                self._lock, self._pid = threading.Lock(), os.getpid()
