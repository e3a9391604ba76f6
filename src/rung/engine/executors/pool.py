"""Steps in reused processes: forked from a zygote that has imported the project's modules, and put back after each step.

A process is not used again when a file of the project has changed, when a step left threads or much memory behind, or
when it had to be ended. Modules that start threads cannot be forked; their processes are started, and then reused too.
So are those of an environment of its own, or with variables that are read at the start.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

from rung.core.errors import Unavailable
from rung.engine.executors.family import EXECUTORS, Task
from rung.engine.executors.process import environment_of, started
from rung.engine.workers import keeper as program
from rung.engine.workers.crew import Crew
from rung.engine.workers.holding import Held, Orders, is_stale
from rung.storage.blobs import BlobStore

_ZYGOTES = 4  # of packages and of states of the project; each holds what its modules do
_WAIT_EACH = 2  # processes that may wait, for each slot
_AT_START = ("PYTHON", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "LD_", "CUBLAS_", "RUNG_NETWORK", "MALLOC_")


@dataclass
class _Zygote:
    """A process that has imported a project's modules and only ever forks."""

    held: Held
    orders: Orders
    modules: set[str] = field(default_factory=set)
    files: tuple[tuple[str, int, int], ...] = ()
    safe: bool = True
    lent: int = 0
    retired: bool = False


@EXECUTORS.member("pool")
class Pool(Crew):
    """The executor of warm processes."""

    def __init__(self, blobs: BlobStore, width: int, settings: Any = None) -> None:
        super().__init__(blobs, width, settings)
        self._idle: dict[str, list[Held]] = {}
        self._zygotes: dict[str, _Zygote] = {}
        self._parents: dict[int, _Zygote] = {}  # by the descriptor of a process's status: a pid may be given anew before it is let go
        self._forking = threading.Lock()

    def _lent(self, task: Task, output: int) -> Held:
        code = str(task.code or task.folder or os.getcwd())
        built, wanted = environment_of(task), _wanted_at_start(task)
        place = "\0".join([code, *([] if built is None else [str(built.python)]), *wanted])
        while (held := self._waiting(place)) is not None:
            if not (held.is_stale() or held.has_ended()):
                return held
            self._returned(held, worn="it is no longer what it was")
        if built is not None or wanted:
            return started(self, task, output, reused=True, built=built, place=place)
        with self._forking:
            zygote = self._zygote(code, task)
            if zygote.safe:
                try:
                    held = zygote.orders.fork(code)
                except Unavailable:  # it has just been killed
                    self._forget(code)
                    raise
                with self._lock:
                    self._parents[held.status] = zygote
                    zygote.lent += 1
                return held
        return started(self, task, output, reused=True)

    def _returned(self, held: Held, *, worn: str) -> None:
        with self._lock:  # one step: a zygote that retires in between would take along a process that seems to wait
            parent = self._parents.get(held.status)
            if parent is not None:
                parent.lent -= 1
                if parent.retired and not parent.lent:
                    parent.held.let_go()
            if worn or (parent is not None and parent.retired):
                spare = [held]
            else:
                waiting = self._idle.pop(held.code, [])
                self._idle[held.code] = [*waiting, held]  # the last one is that of the newest
                spare = self._spare()
        for one in spare:
            self._let_go(one)

    def _spare(self) -> list[Held]:
        """Processes more than may wait, of the places that were longest without work."""
        spare: list[Held] = []
        many = sum(map(len, self._idle.values())) - _WAIT_EACH * self.slots
        for place in list(self._idle):
            while many > len(spare) and self._idle[place]:
                spare.append(self._idle[place].pop(0))
            if not self._idle[place]:
                del self._idle[place]
        return spare

    def _let_go(self, held: Held) -> None:
        with self._lock:
            self._parents.pop(held.status, None)
        held.let_go()

    def _waiting(self, code: str) -> Held | None:
        """A process that waits, lent from now on: it dies with its zygote, which stays as long as it has lent any."""
        with self._lock:
            idle = self._idle.get(code)
            held = idle.pop() if idle else None
            parent = None if held is None else self._parents.get(held.status)
            if parent is not None:
                parent.lent += 1
            return held

    def _zygote(self, code: str, task: Task) -> _Zygote:
        """The zygote of a code folder with the task's module imported; a new one after a file has changed or it has died."""
        module = task.target.partition(":")[0]
        zygote = self._zygotes.pop(code, None)
        if zygote is not None:
            self._zygotes[code] = zygote  # the newest is the last
        if zygote is not None and (is_stale(zygote.files) or zygote.held.has_ended()):
            self._forget(code)
            zygote = None
        if zygote is None:
            zygote = self._zygotes[code] = self._born(code, task)
            for old in list(self._zygotes)[:-_ZYGOTES]:
                self._forget(old)
        if module not in zygote.modules:
            try:
                found = zygote.orders.preload([module], [code])
            except Unavailable:  # the module ends the process that imports it; the worker will tell
                self._forget(code)
                zygote = self._zygotes[code] = self._born(code, task)
                zygote.modules.add(module)
                return zygote
            zygote.modules.add(module)
            zygote.safe = bool(found["safe"])
            zygote.files = tuple((str(f), int(at), int(size)) for f, at, size in found["files"])
        return zygote

    def _born(self, code: str, task: Task) -> _Zygote:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        environ = {**os.environ, "PYTHONHASHSEED": "0", **{k: v for k, v in task.environ.items() if k.startswith("RUNG_HOME")}}
        try:
            held = self.keeping.orders.start(
                [sys.executable, "-P", "-m", program.__name__, "{fd}", str(os.getpid()), "zygote"],
                environ=environ, cwd=str(task.folder or ""), log=nowhere, code=code,
            )  # fmt: skip
        finally:
            os.close(nowhere)
        return _Zygote(held, Orders(held.connection))

    def _forget(self, code: str) -> None:
        zygote = self._zygotes.pop(code)
        with self._lock:
            idle = [held for held in self._idle.get(code, []) if self._parents.get(held.status) is zygote]
            self._idle[code] = [held for held in self._idle.get(code, []) if held not in idle]
            zygote.retired = True
            if not zygote.lent:
                zygote.held.let_go()
        for held in idle:
            self._let_go(held)

    def _dismiss(self) -> None:
        with self._lock:
            idle = [held for waiting in self._idle.values() for held in waiting]
            self._idle.clear()
        for held in idle:
            self._let_go(held)
        for code in list(self._zygotes):
            self._forget(code)


def _wanted_at_start(task: Task) -> list[str]:
    """Variables a step is given that a process reads only when it starts, where they are not what forked ones have."""
    given = sorted(task.environ.items())
    return [f"{name}={value}" for name, value in given if name.startswith(_AT_START) and os.environ.get(name) != value]
