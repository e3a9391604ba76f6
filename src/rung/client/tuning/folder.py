"""A sweep's folder on this machine: plan, ledger, results that are not in the ledger yet, and the lock of the one tuner.

<spool>/.sweeps/<id of the sweep's run>/sweep.json   what was asked for
                                        ledger.jsonl  Optuna's operations, one a line
                                        results/      how trials ended whose end is not in the ledger yet
                                        lock          held by the tuner, and by its workers while they live
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import msgspec

from rung.client.tuning.records import Outcome, Plan
from rung.core.errors import Conflict, NotFound
from rung.core.files import write_whole

FOLDER = ".sweeps"
_PLAN, _LEDGER, _RESULTS, _LOCK = "sweep.json", "ledger.jsonl", "results", "lock"
_PATIENCE_S = 30.0
_held: set[int] = set()


def locks_held() -> tuple[int, ...]:
    """Descriptors of the locks that this process holds: a command that inherits them holds them on while it lives."""
    return tuple(_held)


class Folder:
    """A sweep's folder on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1

    def create(self, plan: Plan) -> None:
        """Make it, with the plan in it."""
        self.path.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (self.path.parent, self.path, self.path / _RESULTS):
            folder.mkdir(exist_ok=True, mode=0o700)
        write_whole(self.path / _PLAN, msgspec.json.format(msgspec.json.encode(plan), indent=2))

    def plan(self) -> Plan:
        """What was asked for. Raises NotFound."""
        try:
            return msgspec.json.decode((self.path / _PLAN).read_bytes(), type=Plan)
        except (OSError, msgspec.MsgspecError) as error:
            raise NotFound(
                f"The sweep's folder {self.path} cannot be read: {error}.", code="tuning.no_folder",
                hint="Go on with a sweep on the machine, and with the home, where it began.",
            ) from None  # fmt: skip

    def lock(self, patience_s: float = _PATIENCE_S) -> int:
        """Become the one tuner; the file's descriptor, for workers to hold on to. Raises Conflict while another tunes."""
        deadline = time.monotonic() + patience_s
        file = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(file)
                    raise Conflict(
                        f"Sweep {self.path.name} goes on in another process.", code="tuning.running",
                        hint="`rung tune status` shows it; `rung tune stop` ends it.",
                    ) from None  # fmt: skip
                time.sleep(0.1)
        self._lock = file
        _held.add(file)
        return file

    def unlock(self) -> None:
        """Let another go on with the sweep."""
        if self._lock >= 0:
            _held.discard(self._lock)
            os.close(self._lock)
            self._lock = -1

    def keep(self, outcome: Outcome) -> None:
        """Write down how a trial ended; it is on the disk when this returns."""
        write_whole(self._result(outcome.number), msgspec.msgpack.encode(outcome), durable=True)

    def kept(self, number: int) -> Outcome | None:
        """How a trial ended, if that was written down and is not in the ledger yet."""
        try:
            return msgspec.msgpack.decode(self._result(number).read_bytes(), type=Outcome)
        except (OSError, msgspec.MsgspecError):
            return None

    def forget(self, number: int) -> None:
        """The ledger has it."""
        self._result(number).unlink(missing_ok=True)

    def _result(self, number: int) -> Path:
        return self.path / _RESULTS / str(number)

    @property
    def ledger(self) -> Path:
        """The file of Optuna's operations."""
        return self.path / _LEDGER
