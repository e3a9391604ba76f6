"""Capture: what a step prints and logs goes to its log file, though several steps share one process."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

_LARGEST = 64 << 20
_sink: ContextVar[Sink | None] = ContextVar("rung_log_sink", default=None)
_lock = threading.Lock()


class Sink:
    """A step's log file, made when the first text comes and cut off at 64 MiB."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None
        self._size = 0
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Append text."""
        with self._lock:
            if self._size > _LARGEST:
                return
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a", encoding="utf-8", errors="replace")
            self._size += len(text)
            self._file.write(text if self._size <= _LARGEST else "\n[the log was cut here]\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()


class _Router(io.TextIOBase):
    """Standard output or error: to the running step's log where there is one, else where it always went."""

    def __init__(self, original: TextIO) -> None:
        self.original = original

    def write(self, text: str) -> int:
        sink = _sink.get()
        if sink is None:
            return self.original.write(text)
        sink.write(text)
        return len(text)

    def flush(self) -> None:
        if _sink.get() is None:
            self.original.flush()

    def isatty(self) -> bool:
        return _sink.get() is None and self.original.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        sink = _sink.get()
        if sink is not None:
            sink.write(self.format(record) + "\n")


_handler = _Handler()
_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))


@contextmanager
def capturing(path: Path) -> Iterator[Sink]:
    """Send this thread's output and log records to a file."""
    _install()
    sink = Sink(path)
    token = _sink.set(sink)
    try:
        yield sink
    finally:
        _sink.reset(token)
        sink.close()


def _install() -> None:
    with _lock:
        if not isinstance(sys.stdout, _Router):
            sys.stdout = _Router(sys.stdout)
        if not isinstance(sys.stderr, _Router):
            sys.stderr = _Router(sys.stderr)
        root = logging.getLogger()
        if _handler not in root.handlers:
            root.addHandler(_handler)
