"""The outbox of a run in this process: appends go to a journal, a background thread sends them on.

While the platform is away the journal grows, up to the bound of the spool, and the thread tries again ever less often.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from rung.client.journal import Writer
from rung.client.sending import Dispatch
from rung.client.spool import Note, RunFolder, spool_bytes
from rung.client.transports import Transport
from rung.core.errors import RungError, Unavailable
from rung.core.requests import Request

GATHER_S = 0.2
PATIENCE_S = 15.0
_LOOK_S = 1.0
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_MANY_BYTES = 40 * 5_000


class Outbox:
    """Keeps what is logged to a run until it has arrived. ``transport`` None: nothing is sent from here."""

    def __init__(self, folder: RunFolder, note: Note, transport: Transport | None, *, bound_bytes: int) -> None:
        self.folder = folder
        self.dropped = 0
        self._note = note
        self._transport = transport
        self._bound_bytes = bound_bytes
        self._writer = Writer(folder.path, self._allowed)
        self._begin()

    def _begin(self) -> None:
        self._stirred = threading.Event()  # something was appended
        self._hurry = threading.Event()  # send now, do not gather
        self._moved = threading.Event()  # the thread did or failed something
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._failure: RungError | None = None
        self.away = False
        self._sent = 0
        self._refused_until = 0.0

    def point(self, key: str, value: float, step: int, at: int) -> None:
        """Keep a point; ``at`` in microseconds since 1970."""
        if not self._writer.point(key, value, step, at):
            self._drop(1)
        if not self._stirred.is_set():
            self._stir()

    def points(self, values: Sequence[tuple[str, float]], step: int, at: int) -> None:
        """Keep points of one step."""
        if not self._writer.points(values, step, at):
            self._drop(len(values))
        if not self._stirred.is_set():
            self._stir()

    def request(self, request: Request[Any]) -> None:
        """Keep a request that may be asked twice. Raises Unavailable when the spool is full."""
        if not self._writer.request(type(request).operation, msgspec.msgpack.encode(request)):
            raise self._full()
        self._stir()

    def blob(self, source: bytes | Path) -> str:
        """Keep bytes or a file; return their digest. Raises Unavailable when the spool is full."""
        self.folder.prepare(self._note)
        if not self._allowed(len(source) if isinstance(source, bytes) else source.stat().st_size):
            raise self._full()
        if not self._writer.ready():  # before the blob lies there, or whoever finds no journal removes both
            raise self._full()
        digest = self.folder.keep_blob(source)
        if not self._writer.blob(digest):
            raise self._full()
        return digest

    def flush(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until all has arrived; give up when nothing moved for so long.

        Raises:
            Unavailable: the platform is away; what is left stays in the spool.
            RungError: what the platform refused; that stays too.
        """
        if self._transport is None:
            return
        deadline, seen = time.monotonic() + patience_s, self._sent
        self._failure = None
        while self._writer.waiting():
            self._hurry.set()
            self._stir()
            self._moved.wait(0.05)
            self._moved.clear()
            failure = self._problem()
            if failure is not None and failure.kind != "unavailable":
                raise failure
            if self._sent != seen:
                deadline, seen = time.monotonic() + patience_s, self._sent
            if time.monotonic() > deadline:
                raise failure or Unavailable(
                    f"{self.waiting()} bytes of run {self.folder.run} have not arrived; they stay in {self.folder.path}.",
                    code="tracking.not_sent", hint="Send them later: rung sync.",
                )  # fmt: skip

    def waiting(self) -> int:
        """Bytes that have not arrived."""
        return self._writer.waiting()

    def close(self) -> None:
        """Append no more, send what others of this machine logged to the run too, and stop; deletes what has arrived."""
        self._writer.close()
        if self.folder.journals():
            self._stir()
        self._closing = True
        self._hurry.set()
        self._stirred.set()
        thread, seen = self._thread, -1
        while thread is not None and thread.is_alive() and self._sent != seen:  # as long as it gets on
            seen = self._sent
            thread.join(PATIENCE_S)

    def after_fork(self) -> None:
        """In a forked child: a journal of one's own, which the parent sends."""
        self._writer.after_fork()
        self.folder.leave()
        self._transport = None
        self._begin()

    def look_after_others(self) -> None:
        """Send what other processes of this machine log to the run, even when this one logs nothing."""
        self._stir()

    def _stir(self) -> None:
        self._stirred.set()
        if self._transport is not None and self._thread is None and not self._closing:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="rung-sender", daemon=True)
                    self._thread.start()

    def _work(self) -> None:
        assert self._transport is not None  # noqa: S101 - no thread is started without
        dispatch, failures = Dispatch(self.folder, self._transport, self._writer), 0
        try:
            while True:
                self._stirred.wait(_LOOK_S)
                if not self._closing and self._writer.waiting() < _MANY_BYTES:
                    self._hurry.wait(GATHER_S)
                self._hurry.clear()
                self._stirred.clear()
                closing = self._closing  # looked at last: who sets it wakes this thread behind it
                failures = 0 if self._sends_all(dispatch) else failures + 1
                if closing:
                    break
                if failures:
                    self._stirred.set()
                    self._hurry.wait(_BACK_OFF_S[min(failures, len(_BACK_OFF_S)) - 1])
            self.folder.remove_if_done()
        finally:
            dispatch.close()
            self.folder.unlock()

    def _sends_all(self, dispatch: Dispatch) -> bool:
        try:
            if not self.folder.lock():
                return True  # another process sends for this run
            while dispatch.send_one():
                self._sent += 1
                self._moved.set()
        except OSError as error:  # the thread lives on: a full disk may have room again
            self._failure = Unavailable(
                f"The spool {self.folder.path} cannot be used: {error}.", code="tracking.spool_unusable", hint="Check its disk and rights."
            )
            self._moved.set()
            return False
        except RungError as error:
            if error.kind == "unavailable" and not self.away:
                self.away = True
                _say(f"{error.message} What is logged stays in {self.folder.path} and is sent when the platform answers again.")
            self._failure = error  # told by the next flush, in the thread that can answer it
            self._moved.set()
            return False
        if self.away:
            self.away = False
            _say("The platform answers again; all that waited has been sent.")
        self._failure = None
        return True

    def _problem(self) -> RungError | None:
        return self._failure

    def _allowed(self, size: int) -> bool:
        if time.monotonic() < self._refused_until:
            return False
        self.folder.prepare(self._note)
        fits = spool_bytes(self.folder.path.parent) + size <= self._bound_bytes
        self._refused_until = 0.0 if fits else time.monotonic() + 1.0
        return fits

    def _drop(self, count: int) -> None:
        if not self.dropped:
            _say(f"{self._full().message} Points are being dropped.")
        self.dropped += count

    def _full(self) -> Unavailable:
        return Unavailable(
            f"The spool {self.folder.path.parent} has reached its {self._bound_bytes >> 20} MiB.", code="tracking.spool_full",
            hint="Make the platform reachable, or raise RUNG_SPOOL_MB.",
        )  # fmt: skip


def _say(message: str) -> None:
    sys.stderr.write(f"rung: {message}\n")
