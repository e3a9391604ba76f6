"""What a process prints while a run is open, kept as its artifact ``logs/output.txt`` and brought up to date as it grows."""

from __future__ import annotations

import io
import sys
import threading
import time
from typing import Any, TextIO

from rung.client.active import ActiveRun
from rung.core.errors import RungError

PATH = "logs/output.txt"
_LARGEST = 8 << 20
_EVERY_S = 5.0


class _Tee(io.TextIOBase):
    """A stream that also keeps what goes through it; everything else is the original's."""

    def __init__(self, original: TextIO, kept: _Kept) -> None:
        self.original = original
        self.kept = kept

    def write(self, text: str) -> int:
        self.kept.add(text)
        return self.original.write(text)

    def flush(self) -> None:
        self.original.flush()

    def isatty(self) -> bool:
        return self.original.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


class _Kept:
    """What was printed so far; sent whole, ever less often as it grows; cut off at 8 MiB."""

    def __init__(self, run: ActiveRun) -> None:
        self._run = run
        self._parts: list[str] = []
        self._size = 0
        self._cut = 0
        self._changed = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="rung-output", daemon=True)
        self._streams: list[tuple[str, _Tee]] = []

    def start(self) -> None:
        """Begin to keep."""
        for name in ("stdout", "stderr"):
            tee = _Tee(getattr(sys, name), self)
            setattr(sys, name, tee)
            self._streams.append((name, tee))
        if not self._run.offline:
            self._thread.start()

    def add(self, text: str) -> None:
        """Keep a piece of text."""
        with self._lock:
            self._changed = True
            if self._size + len(text) > _LARGEST:
                self._cut += len(text)
                return
            self._parts.append(text)
            self._size += len(text)

    def stop(self) -> None:
        """Give the streams back and send the rest."""
        for name, tee in self._streams:
            if getattr(sys, name) is tee:
                setattr(sys, name, tee.original)
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10.0)
        self._send()

    def _work(self) -> None:
        pause = _EVERY_S
        while not self._stop.wait(pause):
            began = time.monotonic()
            try:
                self._send()
            except RungError as error:
                sys.stderr.write(f"rung: the output of run {self._run.id} could not be kept: {error}\n")
                return
            pause = max(_EVERY_S, 20 * (time.monotonic() - began), self._size / 100_000)

    def _send(self) -> None:
        with self._lock:
            if not self._changed:
                return
            text = "".join(self._parts)
            if self._cut:
                text += f"\n[{self._cut} more characters were not kept]\n"
            self._changed = False
        self._run.log_artifact(text.encode("utf-8", "replace"), PATH)


def capture(run: ActiveRun) -> None:
    """Keep what is printed until the run is closed."""
    kept = _Kept(run)
    kept.start()
    run.at_end.append(kept.stop)
