"""A lock that one process holds, by a file; the kernel gives it back when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """An exclusive lock on a file, which is made where it is missing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._file >= 0

    def take(self) -> bool:
        """Hold it; False while another does. Raises OSError where the file cannot be made."""
        if self.held:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.path.samestat(os.fstat(file), os.stat(self._path))
        except (BlockingIOError, FileNotFoundError):
            there = False
        if not there:  # held, or taken away by its last holder since it was opened: then another may hold the one in its place
            os.close(file)
            return False
        self._file = file
        return True

    def give(self) -> None:
        """Let another hold it."""
        if self.held:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # a program that a thread starts just now has a copy of the file until it runs
            self.leave()

    def leave(self) -> None:
        """Forget it without giving it back: in a forked child, for it is the parent's."""
        if self.held:
            os.close(self._file)
            self._file = -1
