"""Asking a model that runs in a process of its own.

A thread keeps the process: starts it, and after a crash, a hang or too much memory starts it again, later each time.
Requests meanwhile wait as long as an answer may take, then are refused with the reason. One that is let go of answers who
still asks, and ends when nobody has asked for a moment.
"""

from __future__ import annotations

import io
import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rung.core.digests import digest_of
from rung.core.errors import Invalid, NotFound, RungError, Unavailable
from rung.core.files import write_whole
from rung.registry.loading import Readable
from rung.registry.records import ModelVersion
from rung.serving.isolated import wire
from rung.serving.isolated.starting import START_S, Process, Spec, died, memory, silent, started, told_error

if TYPE_CHECKING:
    import polars as pl

    from rung.registry.predictor import Predictor
    from rung.serving.inference import Rows

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _STEADY_S = 0.1, 30.0, 10.0
_FULL = 0.8
_LINGER_S = 0.5
__all__ = ["Isolated", "Spec", "isolated_predictor", "laid_out"]
DEFERRED = False  # set where processes are forked later: they start their own
_OWNING = threading.Lock()


class Isolated:
    """Scores rows in a process of its own; threads may share it, one asks at a time."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._pid = 0
        self._reset()

    def _reset(self) -> None:
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._process: Process | None = None
        self._starting: Process | None = None
        self._asking = 0
        self._asked_at = 0.0
        self._leaving = False
        self._reason: RungError | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def start(self) -> dict[str, Any]:
        """Start the process and wait for it; what it says of its engine. Raises why it does not answer."""
        self._keep()
        with self._changed:
            self._changed.wait_for(lambda: self._process or self._reason or self._closed, timeout=START_S + 1)
            if self._process is not None:
                return self._process.facts
            raise self._reason or silent(self.spec)

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        """Scores of the rows.

        Raises:
            Invalid: the model refuses the rows.
            Unavailable: it raises, hangs, crashes, needs too much memory, or has not come back from that.
        """
        if rows.matrix is not None:
            return self.matrix(rows.matrix)
        if rows.frame is None:
            return np.zeros(0)
        return self.frame(rows.frame)

    def matrix(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores of rows that are numbers."""
        dense = np.ascontiguousarray(matrix, dtype=np.float64)
        return self._ask(wire.MATRIX, dense.data.cast("B") if dense.size else b"", *dense.shape)

    def frame(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        """Scores of rows with other columns too."""
        held = io.BytesIO()
        frame.write_ipc(held, compression="uncompressed")
        return self._ask(wire.FRAME, held.getbuffer(), frame.height, frame.width)

    def let_go(self) -> None:
        """End the process when nobody has asked for a moment; who asks later all the same is answered by a fresh one."""
        self._own()
        with self._changed:
            self._leaving = True
            self._asked_at = max(self._asked_at, time.monotonic())  # who took the table before may be about to ask
            if self._starting is not None and not self._asking:
                self._starting.held.kill()
            self._changed.notify_all()

    def close(self) -> None:
        """End the process."""
        if self._pid != os.getpid():
            return
        with self._changed:
            self._closed = True
            if self._starting is not None:
                self._starting.held.kill()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(10)

    def _ask(self, kind: bytes, payload: bytes | memoryview, rows: int, columns: int) -> NDArray[np.float64]:
        self._keep(asking=1)
        try:
            return self._in_turn(kind, payload, rows, columns)
        finally:
            with self._changed:
                self._asking -= 1
                self._asked_at = time.monotonic()
                if self._leaving:
                    self._changed.notify_all()

    def _in_turn(self, kind: bytes, payload: bytes | memoryview, rows: int, columns: int) -> NDArray[np.float64]:
        begun = time.monotonic()
        if not self._turn.acquire(timeout=self.spec.timeout_s):
            raise Unavailable(
                f"{self.spec.name} is busy.", code="serving.model_busy", hint="Repeat in a moment, or send fewer requests at once."
            )
        try:
            process = self._running(begun + self.spec.timeout_s)
            if process.held.poll() is not None:  # it ended while nobody asked: that is no failure of this request
                self._lost(process, died(self.spec, process))
                process = self._running(begun + self.spec.timeout_s)
            # from now: what this request waited for others is no sign that the process hangs
            until = time.monotonic() + self.spec.timeout_s
            try:
                with process.asked:
                    wire.send(process.line.fileno(), kind, payload, rows, columns, until=until)
                    answer = wire.receive(process.line.fileno(), until=until)
            except TimeoutError:
                raise self._lost(process, silent(self.spec)) from None
            except (EOFError, OSError):
                raise self._lost(process, died(self.spec, process)) from None
            return self._scores(process, answer)
        finally:
            self._turn.release()

    def _scores(self, process: Process, answer: wire.Message) -> NDArray[np.float64]:
        kind, rows, columns, payload = answer
        if kind == wire.ERROR:
            error = told_error(self.spec, json.loads(payload))
            if error.code == "serving.model_memory":
                raise self._lost(process, error)
            raise error
        if self.spec.memory_mb and _data_mb(process.held.pid) > self.spec.memory_mb * _FULL:
            self._lost(process, memory(self.spec))  # it has answered; the next request meets a fresh one
        scores = np.frombuffer(payload, dtype=np.float64)
        return scores.reshape(rows, columns) if columns else scores

    def _running(self, until: float) -> Process:
        with self._changed:
            self._changed.wait_for(lambda: self._process or self._closed, timeout=max(0.0, until - time.monotonic()))
            if self._process is None:
                reason = self._reason
                raise Unavailable(
                    f"{self.spec.name} is being started again{f': {reason.message}' if reason else '.'}",
                    code=reason.code if isinstance(reason, Unavailable) else "serving.model_starting",
                    hint="Repeat in a moment.",
                )
            return self._process

    def _lost(self, process: Process, reason: RungError) -> RungError:
        """Let go of a process, for the keeping thread to end it and start another."""
        with self._changed:
            if self._process is process:
                self._process, self._reason = None, reason
                self._changed.notify_all()
        return reason

    def _keep(self, *, asking: int = 0) -> None:
        """See that the thread lives; who asks is counted with that, so that it does not leave in between."""
        self._own()
        with self._changed:
            if not self._closed and (self._thread is None or not self._thread.is_alive()):
                thread = threading.Thread(target=self._kept, name=f"rung-isolated {self.spec.name}", daemon=True)
                thread.start()
                self._thread = thread
            self._asking += asking  # only now: where no thread can be started, nobody asks

    def _own(self) -> None:
        """In a forked process, begin anew: process and thread are of whom we came from."""
        if self._pid != os.getpid():
            with _OWNING:
                if self._pid != os.getpid():
                    self._reset()

    def _kept(self) -> None:
        """The life of the process; the thread stays as long, for a process dies with the thread that started it."""
        failures = 0
        while True:
            process = self._begun()
            if process is not None:
                self._held_until_lost(process)
                process.end()
                failures = 0 if time.monotonic() - process.began > _STEADY_S else failures
            failures += 1
            with self._changed:
                pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (failures - 1))
                self._changed.wait_for(lambda: self._closed or self._idle(), timeout=pause)
                if self._closed or self._idle():
                    self._thread = None
                    return

    def _held_until_lost(self, process: Process) -> None:
        with self._changed:
            self._process = process
            self._changed.notify_all()
            while not self._closed and self._process is process:
                if self._idle() and time.monotonic() - self._asked_at >= _LINGER_S:
                    self._process = None
                    return
                self._changed.wait(_LINGER_S if self._leaving else None)

    def _idle(self) -> bool:
        return self._leaving and not self._asking

    def _begun(self) -> Process | None:
        """A process that has loaded the model; None when it could not, with the reason kept."""
        try:
            return started(self.spec, self._launched)
        except RungError as error:
            with self._changed:
                self._reason = error
                self._changed.notify_all()
            return None
        finally:
            with self._changed:
                self._starting = None

    def _launched(self, process: Process) -> None:
        with self._changed:
            self._starting = process
            if self._closed:
                process.held.kill()


def isolated_predictor(blobs: Readable, version: ModelVersion, home: Path, **bounds: Any) -> tuple[Predictor, Isolated]:
    """A predictor that scores in a process of its own, and that process to be closed.

    Args:
        blobs: where the version's files are.
        version: what is loaded there.
        home: the platform's folder; the files are laid out below it.
        bounds: fields of ``Spec`` besides version and folder.

    Raises:
        NotFound: a file is gone. Conflict, Invalid, Unavailable: it cannot be loaded, with the reason.
    """
    from rung.registry.predictor import Predictor  # noqa: PLC0415 - Polars only for those who load a model

    process = Isolated(Spec(version=version, folder=laid_out(blobs, version, home), **bounds))
    facts: dict[str, Any] = {} if DEFERRED else process.start()
    predictor = Predictor(
        model=version.model, number=version.number, digest=version.digest, signature=version.signature, task=version.known_task,
        classes=version.classes, threshold=version.threshold, scorer=process.frame, engine=f"isolated {facts.get('engine', 'native')}",
        cost_us=max(1000.0, float(facts.get("cost_us", 0.0))),  # never inline: it may hang
    )  # fmt: skip
    return (replace(predictor, score_matrix=process.matrix) if predictor.numeric else predictor), process


def laid_out(blobs: Readable, version: ModelVersion, home: Path) -> Path:
    """A folder with the version's files, each under its digest and checked against it."""
    folder = home / "isolated" / version.digest.partition(":")[2]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    digests = [file.digest for file in version.files]
    if version.engine is not None and version.engine.artifact:
        digests.append(version.engine.artifact)
    for digest in (*digests, version.input_example):
        place = folder / digest.partition(":")[2]
        if not digest or place.is_file():
            continue
        try:
            data = blobs.get(digest)
        except NotFound:
            if digest in digests:
                raise
            continue  # an input example that is gone is no harm
        if digest_of(data) != digest:
            raise Invalid(f"{digest} is not what it was.", code="registry.wrong_digest", hint="Register the model anew.")
        write_whole(place, data)
    return folder


def _data_mb(pid: int) -> float:
    """What of a process RLIMIT_DATA counts, MiB."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) / 1024
    return 0.0
