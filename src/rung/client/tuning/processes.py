"""Worker processes: each takes one trial after another over a line to the tuner, and is replaced when it dies.

A worker is a fresh Python, so nothing of the tuner's process is shared by accident and a script needs no guard around
its call of ``rung.tune``. When the tuner is gone, even by kill -9, its workers end themselves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

import msgspec

from rung.client.client import Client
from rung.client.transports import HttpTransport
from rung.client.tuning import records as r
from rung.client.tuning.crews import Work, broken_off
from rung.client.tuning.objectives import packed
from rung.core.errors import Invalid, Unavailable
from rung.core.records import replaced

PICKLED = "objective.pickle"
_GRACE_S = 10.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


class Worker:
    """One worker process and the line to it."""

    def __init__(self, task: r.Task, environment: dict[str, str], lock: int) -> None:
        self.line, theirs = Pipe()
        life, self._life = os.pipe()  # closes with this process, however it ends
        command = [sys.executable, "-m", "rung.client.tuning.worker", str(theirs.fileno()), str(life)]
        # A session of its own: Ctrl-C reaches the tuner, which tells its workers.
        self.process = subprocess.Popen(
            command, env=environment, pass_fds=[theirs.fileno(), life, lock], start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=_printed_to(),
        )  # fmt: skip
        theirs.close()
        os.close(life)
        self.number = task.worker
        self.asked: r.Asked | None = None
        self.ready = False
        self.send(task)

    def send(self, message: r.ToWorker | r.Task) -> None:
        """Tell the worker something; one that has just died is noticed when it is listened to."""
        with suppress(OSError):
            self.line.send_bytes(msgspec.msgpack.encode(message))

    def close(self) -> int:
        """Let it go, and return its exit status."""
        self.line.close()
        if self._life >= 0:
            os.close(self._life)
            self._life = -1
        try:
            return self.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Processes:
    """A crew of worker processes."""

    def __init__(self, work: Work, workers: int, lock: int, reference: str = "") -> None:
        """``reference`` names the objective for who loads it by name; without one it travels whole."""
        self._work = work
        self._lock = lock
        file = work.folder.path / PICKLED
        file.touch(mode=0o600)
        file.write_bytes(packed((reference or work.objective, work.ledger.space)))
        self._environment = environment_for(work.client, workers)
        self._workers: list[Worker] = []
        try:
            for number in range(workers):
                self._workers.append(self._hire(number))
        except BaseException:
            self.stop(cancel=True)
            raise

    @property
    def busy(self) -> int:
        """Workers with a trial."""
        return sum(worker.asked is not None for worker in self._workers)

    def is_free(self) -> bool:
        """Whether a worker has none."""
        return any(worker.asked is None for worker in self._workers)

    def begin(self, asked: r.Asked) -> None:
        """Give a trial to a free worker; one that is still starting takes it when it is ready."""
        free = [worker for worker in self._workers if worker.asked is None]
        worker = next((worker for worker in free if worker.ready), free[0])
        worker.asked = asked
        worker.send(r.Begin(asked=asked))

    def ended(self, timeout_s: float) -> list[r.Outcome]:
        """Trials that ended, once there is one."""
        found: list[r.Outcome] = []
        deadline = time.monotonic() + timeout_s
        while not found and (left := deadline - time.monotonic()) > 0:
            lines: list[Any] = [worker.line for worker in self._workers]
            for line in wait(lines, left):
                worker = next(worker for worker in self._workers if worker.line is line)
                outcome = self._listened(worker)
                if outcome is not None:
                    found.append(outcome)
        return found

    def stop(self, *, cancel: bool) -> list[r.Outcome]:
        """End the workers, those in the middle of a trial by an interrupt; the outcomes of their trials."""
        found: list[r.Outcome] = []
        for worker in self._workers:
            if cancel and worker.asked is not None:
                worker.process.send_signal(signal.SIGINT)
            else:
                worker.send(r.Leave())
        for worker in self._workers:
            found += self._last_words(worker)
            worker.close()
            if worker.asked is not None:  # looked up only now that it can write nothing more
                found.append(broken_off(self._work.folder, worker.asked))
        self._workers.clear()
        (self._work.folder.path / PICKLED).unlink(missing_ok=True)
        return found

    def _last_words(self, worker: Worker) -> list[r.Outcome]:
        """What a worker that is to end says of a trial that it has still finished."""
        deadline = time.monotonic() + _GRACE_S
        try:
            while worker.asked is not None and worker.line.poll(max(0.0, deadline - time.monotonic())):
                message = received(worker.line)
                if isinstance(message, r.Question):
                    worker.send(r.Verdict(prune=False))
                elif isinstance(message, r.Done):
                    worker.asked = None
                    return [message.outcome]
                if time.monotonic() > deadline:
                    break
        except (EOFError, OSError):
            pass
        return []

    def _listened(self, worker: Worker) -> r.Outcome | None:
        """Take one message of a worker. Raises Invalid when it cannot get the objective."""
        ledger = self._work.ledger
        try:
            message = received(worker.line)
        except (EOFError, OSError):
            return self._replaced(worker)
        match message:
            case r.Reported():
                ledger.report(message.number, message.value, message.step)
            case r.Question():
                worker.send(r.Verdict(prune=ledger.should_prune(message.number)))
            case r.Done():
                worker.asked = None
                return message.outcome
            case r.Broken():
                raise Invalid(
                    f"A worker's process cannot get the objective: {message.error}", code="tuning.bad_objective",
                    hint="Name it as 'script.py:objective', or use threads=True.",
                )  # fmt: skip
            case r.Ready():
                worker.ready = True
        return None

    def _replaced(self, worker: Worker) -> r.Outcome | None:
        """Put another worker in the place of one that died; its trial failed, unless its result was on the disk already."""
        asked, code = worker.asked, worker.close()
        if not worker.ready:
            raise Unavailable(
                f"A worker's process ended with {_ended(code)} before it was ready.", code="tuning.no_worker",
                hint="Look at standard error for what it said, or use threads=True.",
            )  # fmt: skip
        sys.stderr.write(f"rung: worker {worker.number} ended with {_ended(code)}; another takes its place.\n")
        self._workers[self._workers.index(worker)] = self._hire(worker.number)
        if asked is None:
            return None
        why = f"The worker's process ended with {_ended(code)}."
        outcome = self._work.folder.kept(asked.number) or r.Outcome(number=asked.number, run=asked.run, state="failed", error=why)
        return replaced(outcome, left_open=True)

    def _hire(self, number: int) -> Worker:
        work = self._work
        task = r.Task(plan=work.plan, folder=str(work.folder.path), path=tuple(sys.path), worker=number)
        return Worker(task, {**self._environment, "RUNG_WORKER": str(number)}, self._lock)


def received(line: Connection) -> r.FromWorker:
    """The next message of a worker."""
    message: r.FromWorker = msgspec.msgpack.decode(line.recv_bytes(), type=r.FromWorker)
    return message


def environment_for(client: Client | None, workers: int) -> dict[str, str]:
    """Variables that lead a worker to the same platform, and keep libraries from using every core in each of them."""
    environment = dict(os.environ)
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    for name in _THREADS:
        environment.setdefault(name, threads)
    if client is None:
        return environment
    transport = client.transport
    if isinstance(transport, HttpTransport):
        environment |= {"RUNG_URL": transport.url, "RUNG_TOKEN": transport.token}
        if transport.project:
            environment["RUNG_PROJECT"] = transport.project
    else:
        platform = getattr(transport, "platform", None)
        if platform is not None:
            storage = platform.settings.storage
            given = {
                "RUNG_HOME": str(platform.settings.home_path),
                "RUNG_STORAGE_DATABASE": storage.database,
                "RUNG_STORAGE_BLOBS": storage.blobs,
                "RUNG_PROJECT": getattr(transport, "project", None),
            }
            environment |= {name: value for name, value in given.items() if value}
            environment.pop("RUNG_URL", None)
    return environment


def _printed_to() -> int | None:
    """Where workers print: to where this process's standard output goes now, which need not be the one it began with."""
    try:
        return sys.stdout.fileno()
    except (OSError, AttributeError, ValueError):
        return None  # a notebook's


def _ended(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
