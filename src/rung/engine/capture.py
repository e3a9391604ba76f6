"""Capture: what a step prints and logs goes to its log file, though several steps share one process."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

from rung.engine.logs import LogFile

_sink: ContextVar[Sink | None] = ContextVar("rung_log_sink", default=None)
_lock = threading.Lock()


class Sink:
    """What a step says, on its way to its log file."""

    def __init__(self, path: Path, secrets: Iterable[str] = ()) -> None:
        self.path = path
        self._file = LogFile(path, secrets)

    def write(self, text: str) -> None:
        """Append text."""
        self._file.write(text.encode("utf-8", errors="backslashreplace"))

    def write_bytes(self, data: bytes) -> None:
        """Append bytes that need be no text."""
        self._file.write(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Bytes(io.RawIOBase):
    """``sys.stdout.buffer``: bytes go where the texts go."""

    def __init__(self, original: Any) -> None:
        self.original = original

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        sink = _sink.get()
        held = bytes(data)
        if sink is None:
            self.original.write(held)
        else:
            sink.write_bytes(held)
        return len(held)

    def flush(self) -> None:
        if _sink.get() is None:
            self.original.flush()

    def close(self) -> None:
        """Nothing: it belongs to the process, not to the step."""


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

    @property
    def buffer(self) -> Any:
        return _Bytes(self.original.buffer)

    def close(self) -> None:
        """Nothing: it belongs to the process, not to the step."""

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
def capturing(path: Path, secrets: Iterable[str] = ()) -> Iterator[Sink]:
    """Send this thread's output and log records to a file."""
    _install()
    sink = Sink(path, secrets)
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
