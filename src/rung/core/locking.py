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
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def give(self) -> None:
        """Let another hold it."""
        if self.held:
            os.close(self._file)
            self._file = -1
