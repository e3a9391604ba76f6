"""The durable prediction log: an answer is in the kernel, or on the disk if asked, before it leaves.

One writer a process and project appends to a segment of its own; whole segments are sealed by renaming. A segment
left open by a dead process is cut after its last whole frame and sealed by whoever finds its lock free.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import IO

from rung.core.errors import Unavailable
from rung.core.ids import new_id
from rung.serving.frames import HEADER, MAGIC, VERSION, Batch, packed, whole_frames

FOLDER = "predictions"


def log_folder(home: Path, project: str) -> Path:
    """Where a project's segments lie."""
    return home / FOLDER / project


class PredictionLog:
    """Appends batches of one project; safe to share between threads."""

    def __init__(self, home: Path, project: str, *, segment_bytes: int, fsync: bool) -> None:
        self._folder = log_folder(home, project)
        self._segment_bytes = segment_bytes
        self._fsync = fsync
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._path = Path()
        self._size = 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Unavailable(
                f"The prediction log {self._folder} cannot be made: {error.strerror}.",
                code="serving.log_unwritable",
                hint="Check the home's rights.",
            ) from None
        recover(self._folder)

    def append(self, *batches: Batch) -> None:
        """Write batches; when this returns they survive the death of the process. Raises Unavailable, and then nothing was kept."""
        data = b"".join(packed(batch) for batch in batches)
        with self._lock:
            file = self._open()
            try:
                file.write(data)
                file.flush()
                if self._fsync:
                    os.fdatasync(file.fileno())
            except OSError as error:
                file.truncate(self._size)
                file.seek(self._size)
                raise Unavailable(
                    f"The prediction log cannot be written: {error.strerror}.",
                    code="serving.log_unwritable",
                    hint="Free some space; no prediction is answered unlogged.",
                ) from None
            self._size += len(data)
            if self._size >= self._segment_bytes:
                self._seal()

    def seal(self) -> None:
        """End the open segment, so that it can be compacted."""
        with self._lock:
            self._seal()

    def close(self) -> None:
        """End the open segment."""
        self.seal()

    def _open(self) -> IO[bytes]:
        if self._file is None:
            segment = new_id()
            self._path = self._folder / f"{segment}.open"
            self._file = self._path.open("xb", buffering=0)
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX)
            self._file.write(HEADER.pack(MAGIC, VERSION, 0, 0, bytes.fromhex(segment)))
            self._size = HEADER.size
            _sync(self._folder)
        return self._file

    def _seal(self) -> None:
        if self._file is None:
            return
        os.fdatasync(self._file.fileno())
        self._path.rename(self._path.with_suffix(".seg"))
        self._file.close()
        self._file = None
        _sync(self._folder)


def recover(folder: Path) -> int:
    """Cut and seal the segments that dead processes left open; returns how many there were."""
    sealed = 0
    for path in sorted(folder.glob("*.open")):
        with path.open("r+b") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            end = HEADER.size
            for offset, _ in whole_frames(file.read()):
                end = offset
            file.truncate(end)
            os.fsync(file.fileno())
            path.rename(path.with_suffix(".seg"))
            sealed += 1
    if sealed:
        _sync(folder)
    return sealed


def segments(folder: Path, *, sealed_only: bool = False) -> list[Path]:
    """Segments of a folder, oldest first."""
    kinds = ("*.seg",) if sealed_only else ("*.seg", "*.open")
    return sorted((path for kind in kinds for path in folder.glob(kind)), key=lambda path: path.stem)


def payloads(path: Path) -> list[bytes] | None:
    """Payloads of a segment's whole frames; None when it went away, sealed under a new name or compacted."""
    for candidate in (path, path.with_suffix(".seg")):
        try:
            return [payload for _, payload in whole_frames(candidate.read_bytes())]
        except FileNotFoundError:
            continue
    return None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
