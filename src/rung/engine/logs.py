"""Log files of attempts: written while a step runs, cut off at a size, and without the secrets the step was given."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LARGEST = 64 << 20
_MASK = b"********"
_SHORTEST = 4  # a shorter text is no secret, and hiding it would hide half the log
_CUT = b"\n[the log was cut here]\n"


class Masker:
    """Puts asterisks in the place of secrets in a stream of bytes, also where one is split over two writes."""

    def __init__(self, secrets: Iterable[str]) -> None:
        found = {secret.encode() for secret in secrets if len(secret) >= _SHORTEST}
        found |= {line for secret in found for line in secret.splitlines() if len(line) >= 4 * _SHORTEST}
        self._secrets = sorted(found, key=len, reverse=True)
        self._held = b""

    def fed(self, data: bytes) -> bytes:
        """What may be shown of the stream so far: all but an end that could be the beginning of a secret."""
        if not self._secrets:
            return data
        data = self._held + data
        for secret in self._secrets:
            data = data.replace(secret, _MASK)
        keep = max((_overlap(data, secret) for secret in self._secrets), default=0)
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep]

    def rest(self) -> bytes:
        """What was held back, at the end of the stream."""
        held, self._held = self._held, b""
        return held


def _overlap(data: bytes, secret: bytes) -> int:
    """Length of the longest end of ``data`` with which ``secret`` begins, without being all of it."""
    for length in range(min(len(secret) - 1, len(data)), 0, -1):
        if data.endswith(secret[:length]):
            return length
    return 0


class LogFile:
    """An attempt's log, made when the first bytes come."""

    def __init__(self, path: Path, secrets: Iterable[str] = ()) -> None:
        self.path = path
        self._masker = Masker(secrets)
        self._file: int | None = None
        self._size = 0
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Append bytes."""
        with self._lock:
            self._append(self._masker.fed(data))

    def close(self) -> None:
        """Write what was held back and close the file."""
        with self._lock:
            self._append(self._masker.rest())
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _append(self, data: bytes) -> None:
        if not data or self._size > LARGEST:
            return
        if self._file is None:
            self._file = self._opened()
        room = LARGEST - self._size
        self._size += len(data)
        data = data if len(data) <= room else data[:room] + _CUT
        while data:
            data = data[os.write(self._file, data) :]

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        while True:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # an ended run's folder may be cleared away just now
                return os.open(self.path, flags, 0o600)
