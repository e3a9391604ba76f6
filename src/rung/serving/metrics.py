"""What the data plane counts, in cells of mapped files, one a worker process of a server.

Whoever is asked for metrics adds all files up, so the numbers are right whichever worker answers. A meter is made once for a
deployment; counting is a few additions to its cells.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from rung.core.ids import new_id

if TYPE_CHECKING:
    from rung.serving.inference import Batches

BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STATUSES = (200, 400, 403, 404, 405, 408, 409, 413, 415, 422, 429, 499, 500, 503, 504)
_STATUS_CELL = {status: place for place, status in enumerate(STATUSES)}
_OTHER = len(STATUSES)
_ROWS, _SECONDS, _COMPUTE_US, _QUEUE_US, _RUNS, _DROPPED, _FAILED_S, _LAST_S, _LOGGED, _SHED = range(_OTHER + 1, _OTHER + 11)
_BUCKET = _OTHER + 11
_INPUT_S, _OUTPUT_S, _EXECUTIONS = range(_BUCKET + len(BUCKETS) + 1, _BUCKET + len(BUCKETS) + 4)
SIZES = (*range(1, 17), *(1 << power for power in range(5, 21)))  # of batches; one in between counts as the next, one above as the last
_BATCHES, _OF_BATCH = _EXECUTIONS + 1, 4  # for each size: executions, then seconds of input, compute and output
_OF_LOG = ""  # stands for the version in the key of what the prediction log counts, whichever version answered
_KEY, _CELLS = 512, _BATCHES + len(SIZES) * _OF_BATCH
_BLOCK = _KEY + _CELLS * 8
_BLOCKS = 2048
_MOST_GATHERED = 4096
_SIZE = _BLOCKS * _BLOCK
_SEPARATOR, _PADDING, _SUFFIX = "\0", b"\1", ".cells"
_PACKED = struct.Struct("8d").pack


class Meter:
    """Counts of one deployment with one stable version, in this process.

    Counting appends to a list; ``fold`` adds what was gathered to the cells, many requests at once.
    """

    __slots__ = ("_cells", "_gathered", "_joined", "_lock", "key")

    def __init__(self, key: tuple[str, str, str], cells: memoryview[float]) -> None:
        self.key = key
        self._gathered: list[tuple[int, float, int, float, float, float, float, bool]] = []
        self._joined: list[tuple[int, float, float, float, float]] = []
        self.bind(cells)

    def answered(
        self, seconds: float, rows: int, compute_us: float, queue_us: float = 0.0, *, input_s: float = 0.0, output_s: float = 0.0,
        batches: Batches | None = None,
    ) -> None:  # fmt: skip
        """One request was answered.

        Args:
            seconds: all of it. rows: how many. compute_us, queue_us: in models, and waiting for them.
            input_s: reading rows out of the request. output_s: writing the answer.
            batches: what was scored for it, where that was not its rows alone, and at once.
        """
        if batches is not None:
            whole = sum(share for _, share, _ in batches)
            self._joined += [
                (size, share, share * input_s / whole, share * us / 1e6, share * output_s / whole) for size, share, us in batches
            ]
        self._gathered.append((0, seconds, rows, compute_us, queue_us, input_s, output_s, batches is None))
        if len(self._gathered) > _MOST_GATHERED:
            self.fold()

    def refused(self, status: int, seconds: float) -> None:
        """One request was answered with another status than 200."""
        self._gathered.append((_STATUS_CELL.get(status, _OTHER), seconds, 0, 0.0, 0.0, 0.0, 0.0, False))
        if len(self._gathered) > _MOST_GATHERED:
            self.fold()

    @property
    def waiting(self) -> bool:
        """Whether a request was counted since the last ``fold``."""
        return bool(self._gathered)

    def dropped(self) -> None:
        """One request was not shown to a shadow, because too many waited."""
        with self._lock:
            self._cells[_DROPPED] += 1

    def kept(self, logged: int, shed: int) -> None:
        """So many more rows went to the prediction log, and so many were shed for want of room."""
        with self._lock:
            self._cells[_LOGGED] += logged
            self._cells[_SHED] += shed

    def fold(self) -> None:
        """Add what was gathered to the cells."""
        with self._lock:  # asked for first: what another thread has taken out is in the cells only when it lets go
            gathered = self._gathered[:]
            if not gathered:
                return
            del self._gathered[: len(gathered)]  # what came meanwhile stands behind
            table = np.frombuffer(b"".join([_PACKED(*one) for one in gathered])).reshape(-1, 8)  # twice as fast as np.array
            self._cells[: _OTHER + 1] += np.bincount(table[:, 0].astype(np.intp), minlength=_OTHER + 1)
            self._cells[_RUNS] += np.count_nonzero(table[:, 0] == 0)
            self._cells[[_SECONDS, _ROWS, _COMPUTE_US, _QUEUE_US, _INPUT_S, _OUTPUT_S]] += table[:, 1:7].sum(axis=0)
            self._cells[_FAILED_S] += table[table[:, 0] > 0, 1].sum()
            if not table[:, 0].all():
                self._cells[_LAST_S] = time.time()
            places = np.searchsorted(BUCKETS, table[:, 1])
            self._cells[_BUCKET : _BUCKET + len(BUCKETS) + 1] += np.bincount(places, minlength=len(BUCKETS) + 1)
            alone = table[table[:, 7] > 0]
            self._executed(alone[:, 2], np.ones(len(alone)), alone[:, 5], alone[:, 3] / 1e6, alone[:, 6])
            if joined := self._joined[:]:
                del self._joined[: len(joined)]
                self._executed(*np.array(joined).T)

    def _executed(self, rows: NDArray[np.float64], shares: NDArray[np.float64], *seconds: NDArray[np.float64]) -> None:
        """Add executions, or shares of those of several requests, to the cells of their sizes."""
        sizes = np.minimum(np.searchsorted(SIZES, rows), len(SIZES) - 1)
        cells = self._cells[_BATCHES : _BATCHES + len(SIZES) * _OF_BATCH].reshape(len(SIZES), _OF_BATCH)
        for place, values in enumerate((shares, *seconds)):
            cells[:, place] += np.bincount(sizes, weights=values, minlength=len(SIZES))
        self._cells[_EXECUTIONS] += shares.sum()

    def bind(self, cells: memoryview[float]) -> None:
        """Count in other cells from now on; called in a forked child, where no other thread lives."""
        self._lock = threading.Lock()
        self._cells: NDArray[np.float64] = np.asarray(cells)
        self._gathered.clear()
        self._joined.clear()


@dataclass(frozen=True)
class Batch:
    """Executions of one size: exact up to 16 rows, then rounded up to a power of two."""

    size: int
    executions: float
    input_s: float
    compute_us: float
    output_s: float


@dataclass(frozen=True)
class Counts:
    """Sums of one deployment with one stable version over all workers."""

    project: str
    deployment: str
    version: str
    cells: tuple[float, ...]

    @property
    def by_status(self) -> dict[str, float]:
        """Requests by status."""
        named = {str(status): self.cells[place] for status, place in _STATUS_CELL.items() if self.cells[place]}
        return named | ({"other": self.cells[_OTHER]} if self.cells[_OTHER] else {})

    @property
    def succeeded(self) -> float:
        """Requests answered with 200."""
        return self.cells[0]

    @property
    def failed(self) -> float:
        """Requests answered with any other status."""
        return sum(self.cells[1 : _OTHER + 1])

    @property
    def rows(self) -> float:
        """Rows answered."""
        return self.cells[_ROWS]

    @property
    def runs(self) -> float:
        """Requests that a model scored."""
        return self.cells[_RUNS]

    @property
    def seconds(self) -> float:
        """Seconds from whole requests to whole answers."""
        return self.cells[_SECONDS]

    @property
    def failed_s(self) -> float:
        """Seconds of requests answered with any other status than 200."""
        return self.cells[_FAILED_S]

    @property
    def last_s(self) -> float:
        """When an answer was last counted, seconds since 1970; 0: never."""
        return self.cells[_LAST_S]

    @property
    def compute_us(self) -> float:
        """Microseconds that requests spent in models; those scored together spent them each."""
        return self.cells[_COMPUTE_US]

    @property
    def queue_us(self) -> float:
        """Microseconds waiting for models."""
        return self.cells[_QUEUE_US]

    @property
    def input_s(self) -> float:
        """Seconds of reading rows out of requests."""
        return self.cells[_INPUT_S]

    @property
    def output_s(self) -> float:
        """Seconds of writing answers."""
        return self.cells[_OUTPUT_S]

    @property
    def executions(self) -> float:
        """How often models scored: once for requests that were scored together, once for each arm of one."""
        return self.cells[_EXECUTIONS]

    @property
    def batches(self) -> list[Batch]:
        """Executions by size."""
        found = (self.cells[_BATCHES + at * _OF_BATCH :][:_OF_BATCH] for at in range(len(SIZES)))
        return [Batch(size, runs, read, us * 1e6, wrote) for size, (runs, read, us, wrote) in zip(SIZES, found, strict=True) if runs]

    @property
    def busy_us(self) -> float:
        """Microseconds of executions, one that scored several requests counted once."""
        return sum(batch.compute_us for batch in self.batches)

    @property
    def dropped(self) -> float:
        """Requests that no shadow was shown."""
        return self.cells[_DROPPED]

    @property
    def logged(self) -> float:
        """Rows that the prediction log kept, shadows included."""
        return self.cells[_LOGGED]

    @property
    def shed(self) -> float:
        """Rows answered that the prediction log had no room for."""
        return self.cells[_SHED]

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds of seconds with the requests at or below them."""
        total, found = 0.0, []
        for place, bound in enumerate((*map(str, BUCKETS), "+Inf")):
            total += self.cells[_BUCKET + place]
            found.append((bound, total))
        return found


class Log(Protocol):
    """What the board reads of a prediction log: rows by deployment, which only grow."""

    rows: dict[str, int]
    shed: dict[str, int]


class _Watched:
    """A prediction log, and what of it the cells have already."""

    __slots__ = ("_log", "_told", "project")

    def __init__(self, project: str, log: Log) -> None:
        self.project, self._log = project, weakref.ref(log)
        self._told: dict[str, tuple[int, int]] = {}

    def news(self) -> Iterator[tuple[str, int, int]]:
        """Deployments with the rows logged and shed since the last time."""
        log = self._log()
        if log is None:
            return
        for name in {**log.rows, **log.shed}:
            now, before = (log.rows.get(name, 0), log.shed.get(name, 0)), self._told.get(name, (0, 0))
            if now != before:
                self._told[name] = now
                yield name, now[0] - before[0], now[1] - before[1]

    @property
    def gone(self) -> bool:
        """Whether nobody holds the log any more."""
        return self._log() is None


class Board:
    """Cells of this process, and how to add up those of all: each process maps a file of its own in one folder.

    Without a folder there is one process, and its cells are memory of its own. Files of processes that ended stay, so that sums
    only grow; whoever made the folder removes it. A forked child counts in a new file from nought.
    """

    def __init__(self, folder: str = "") -> None:
        self._folder = Path(folder) if folder else None
        self._lock = threading.Lock()
        self._meters: dict[tuple[str, str, str], Meter] = {}
        self._watched: list[_Watched] = []
        self._looking = threading.Lock()
        self.projects: dict[str, str] = {}
        self._memory = self._fresh()

    def meter(self, project: str, deployment: str, version: str) -> Meter:
        """The meter of a deployment with a stable version; made once."""
        key = (project, deployment, version)
        with self._lock:
            held = self._meters.get(key)
            if held is None:
                held = self._meters[key] = Meter(key, self._placed(len(self._meters), key))
            return held

    def watch(self, project: str, log: Log) -> None:
        """Count what a prediction log of this process keeps from now on."""
        with self._looking:
            self._watched = [one for one in self._watched if not one.gone] + [_Watched(project, log)]

    def counts(self) -> list[Counts]:
        """Sums over all processes."""
        return [one for one in self._sums() if one.version != _OF_LOG]

    def of_logs(self) -> list[Counts]:
        """Sums of what prediction logs kept and shed, over all processes, one a deployment."""
        return [one for one in self._sums() if one.version == _OF_LOG]

    def _sums(self) -> list[Counts]:
        self.fold()
        sums: dict[tuple[str, str, str], NDArray[np.float64]] = {}
        for memory in self._all():
            for key, cells in _blocks(memory):
                held, more = sums.setdefault(key, np.zeros(_CELLS)), np.asarray(cells)
                last = max(held[_LAST_S], more[_LAST_S])
                held += more
                held[_LAST_S] = last
        return [Counts(*key, cells=tuple(cells.tolist())) for key, cells in sorted(sums.items(), key=lambda item: item[0])]

    def fold(self) -> None:
        """Bring what this process has counted into its cells, where others see it."""
        with self._looking:
            for watched in self._watched:
                for name, logged, shed in watched.news():
                    self.meter(watched.project, name, _OF_LOG).kept(logged, shed)
        for meter in list(self._meters.values()):
            meter.fold()

    def forked(self) -> None:
        """Count from nought in memory of this process's own."""
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._memory = self._fresh()
        for watched in self._watched:
            for _ in watched.news():
                pass  # the parent tells what it counted before
        for place, (key, meter) in enumerate(self._meters.items()):
            meter.bind(self._placed(place, key))

    def _fresh(self) -> memoryview:
        if self._folder is None:
            return memoryview(mmap.mmap(-1, _SIZE))
        descriptor = os.open(self._folder / f"{os.getpid()}-{new_id()}{_SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(descriptor, _SIZE)
            return memoryview(mmap.mmap(descriptor, _SIZE))
        finally:
            os.close(descriptor)

    def _all(self) -> Iterator[memoryview]:
        if self._folder is None:
            yield self._memory
            return
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < _SIZE:  # of a process that is just beginning, and has counted nothing
                    continue
                yield memoryview(mmap.mmap(file.fileno(), _SIZE, access=mmap.ACCESS_READ))

    def _placed(self, place: int, key: tuple[str, str, str]) -> memoryview[float]:
        start = min(place, _BLOCKS - 1) * _BLOCK  # the last block is everybody's when there are too many
        name = _SEPARATOR.join(key).encode("utf-8", "replace")[: _KEY - 1]
        self._memory[start : start + _KEY] = name.ljust(_KEY, _PADDING)
        return self._memory[start + _KEY : start + _BLOCK].cast("d")


def _blocks(memory: memoryview) -> Iterator[tuple[tuple[str, str, str], memoryview[float]]]:
    for start in range(0, _SIZE, _BLOCK):
        if not memory[start]:
            return
        name = bytes(memory[start : start + _KEY]).rstrip(_PADDING).decode("utf-8", "replace")
        project, deployment, version = (*name.split(_SEPARATOR), "", "", "")[:3]
        yield (project, deployment, version), memory[start + _KEY : start + _BLOCK].cast("d")


BOARD = Board(os.environ.get("RUNG_METRICS_FOLDER", ""))
os.register_at_fork(after_in_child=BOARD.forked)
