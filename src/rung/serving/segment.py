"""A segment file of the prediction log, mapped into memory: room allocated ahead, filled by copying.

What was copied belongs to the kernel, so it outlives the process however that ends. The blocks are allocated before
the file is mapped: a full disk is an error here, never a SIGBUS later.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

from rung.core.ids import new_id
from rung.serving.packing import HEADER, MAGIC, VERSION

_DROP = 4 << 20


class Segment:
    """One open segment; its writer alone holds the lock on the file. Raises OSError when there is no room for it."""

    def __init__(self, folder: Path, size: int) -> None:
        name = new_id()
        self.path = folder / f"{name}.open"
        fresh = folder / f"{name}.new"
        self.size = size
        self.end = HEADER.size
        self._cold = 0
        self.file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX)
            _allocate(self.file, size)
            self.room = mmap.mmap(self.file, size)
            self.room[: HEADER.size] = HEADER.pack(MAGIC, VERSION, 0, 0, bytes.fromhex(name))
            fresh.rename(self.path)  # only now, for an unlocked .open is taken for a dead process's
        except OSError:
            fresh.unlink(missing_ok=True)
            os.close(self.file)
            raise

    @property
    def empty(self) -> bool:
        """Whether nothing was written."""
        return self.end == HEADER.size

    def put(self, data: bytes) -> None:
        """Copy frames; there must be room."""
        end = self.end + len(data)
        self.room[self.end : end] = data
        self.end = end

    def cool(self) -> None:
        """Let go of memory that is filled: it stays with the kernel until it is on the disk, and is not counted as this process's."""
        filled = self.end // mmap.PAGESIZE * mmap.PAGESIZE
        if filled - self._cold >= _DROP:
            self.room.madvise(mmap.MADV_DONTNEED, self._cold, filled - self._cold)
            self._cold = filled

    def sync(self) -> None:
        """Wait until everything put so far is on the disk. Raises OSError."""
        os.fdatasync(self.file)

    def seal(self) -> None:
        """End the segment: cut it to its length and call it sealed; an empty one goes away. Raises OSError."""
        if self.empty:
            self.path.unlink(missing_ok=True)
        else:
            os.ftruncate(self.file, self.end)
            os.fsync(self.file)
            self.path.rename(self.path.with_suffix(".seg"))
        self.leave()

    def leave(self) -> None:
        """Let go of the file without a word to it: a forked child must not touch its parent's."""
        self.room.close()
        os.close(self.file)


def sync_folder(folder: Path) -> None:
    """Wait until names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _allocate(file: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    zeros, written = bytes(1 << 20), 0
    while written < size:
        written += os.pwrite(file, zeros[: size - written], written)
