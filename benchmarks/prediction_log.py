"""The prediction log: what an append costs the answer, and how fast a log is read, compacted and searched.

Appends count the CPU of the thread that answers: the best and the median of many blocks, for a busy machine adds to each.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.measure import function
from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import load_settings
from rung.serving import predictions
from rung.serving.log import Entry, PredictionLog, log_folder, segments
from rung.serving.packing import Packer
from rung.serving.records import CompactLog
from rung.serving.unpacking import contents

COLUMNS, ROWS = 30, 280_000
NAMES, TYPES = tuple(f"f{i}" for i in range(COLUMNS)), ("Float64",) * COLUMNS
_BLOCK, _BLOCKS = 2000, 100


def entry(n: int, at: int = 0, *, matrix: NDArray[np.float64] | None = None) -> Entry:
    """Answers to one request of n rows."""
    rows = np.random.default_rng(at).normal(size=(n, COLUMNS)) if matrix is None else matrix
    return Entry(
        deployment="bench", model="bench", number=1, revision=1, arm="stable", answered_us=1_700_000_000_000_000 + at, elapsed_us=50,
        ids=[f"{at:026x}{i:06x}" for i in range(n)], times_us=np.full(n, 1_700_000_000_000_000 + at), scores=rows[:, 0], matrix=rows,
        names=NAMES, dtypes=TYPES, caller="alice",
    )  # fmt: skip


def run() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        _appends(Path(folder))
        _reads(Path(folder), 1)
        _reads(Path(folder), 1000)
        _whole(Path(folder))


def _blocks(work: Callable[[], object], block: int = _BLOCK, blocks: int = _BLOCKS) -> tuple[float, float]:
    spent = []
    for _ in range(blocks):
        begun = time.thread_time_ns()
        for _ in range(block):
            work()
        spent.append((time.thread_time_ns() - begun) / block / 1000)
    return min(spent), statistics.median(spent)


def _appends(folder: Path) -> None:
    log, packer, one, many = PredictionLog(folder, "a", segment_bytes=16 << 20, fsync=False), Packer(), entry(1), entry(1000)
    log.append(one)
    packer.packed(one)
    matrix, ids = one.matrix, one.ids
    for what, (best, median) in {
        "making an entry": _blocks(
            lambda: Entry("bench", "bench", 1, 1, "stable", 1, 50, ids, one.times_us, one.scores, matrix, None, NAMES, TYPES, None, "alice")
        ),
        "packing it": _blocks(lambda: packer.packed(one)),
        "append, packing included": _blocks(lambda: log.append(one)),
        "append of 1000 rows": _blocks(lambda: log.append(many), 20, 50),
    }.items():
        print(f"{what + f', {COLUMNS} columns':46} {best:8.2f} us at best, {median:8.2f} us median")
    log.close()
    synced = PredictionLog(folder, "f", segment_bytes=16 << 20, fsync=True)
    begun = time.perf_counter()
    for _ in range(200):
        synced.append(one)
    print(f"{'append with log_fsync, one caller':46} {(time.perf_counter() - begun) / 200 * 1e6:8.0f} us wall")
    synced.close()


def _reads(folder: Path, rows: int) -> None:
    log = PredictionLog(folder, f"r{rows}", segment_bytes=16 << 20, fsync=False)
    matrix = np.random.default_rng(0).normal(size=(rows, COLUMNS))
    for at in range(ROWS // rows):
        log.append(entry(rows, at, matrix=matrix))
    log.close()
    paths = segments(log_folder(folder, f"r{rows}"))
    size = sum(path.stat().st_size for path in paths)

    def read() -> None:
        frames = [frame for path in paths if (held := contents(path)) and (frame := held.frame("bench")) is not None]
        assert sum(frame.height for frame in frames) == ROWS

    cpu, wall = function(read, repeats=3)
    print(f"{f'reading {ROWS:,} rows of segments, {rows} a request':46} {cpu:.2f} CPU-s, {wall:.2f} s wall ({size / ROWS:.0f} bytes a row)")


def _whole(folder: Path) -> None:
    transport = local_transport(load_settings(folder, environ={}, flags={"home": str(folder / "home")}))
    client, generator = Client(transport), np.random.default_rng(0)
    frame = pl.DataFrame(generator.normal(size=(ROWS, COLUMNS)), schema=list(NAMES))
    model = LogisticRegression().fit(frame.head(500), (frame["f0"] > 0).head(500).to_numpy().astype(int))
    client.registry.register("bench", model, example=frame.head(20), label="y")
    client.serving.deploy("bench", "bench", 1, environment="staging")
    client.serving.predict("bench", frame, ids=[f"{i:032x}" for i in range(ROWS)], batch=5000)
    scope = transport.platform.scope(transport.caller())

    def read() -> None:
        assert predictions.read(scope, "bench").height == ROWS

    print(f"{f'predictions.read, {ROWS:,} rows of segments':46} {_said(function(read, repeats=3))}")
    begun = time.perf_counter(), time.process_time()
    while transport.call(CompactLog()):
        pass
    print(f"{'compaction of them':46} {time.process_time() - begun[1]:.2f} CPU-s, {time.perf_counter() - begun[0]:.2f} s wall")
    print(f"{f'predictions.read, {ROWS:,} rows of Parquet':46} {_said(function(read, repeats=3))}")
    print(f"{'the same without inputs':46} {_said(function(lambda: predictions.read(scope, 'bench', columns=[]), repeats=3))}")
    found = function(lambda: client.serving.find(f"{ROWS // 2:032x}"), repeats=5)
    print(f"{'one prediction by its id':46} {found[0] * 1000:.0f} CPU-ms, {found[1] * 1000:.0f} ms wall")
    transport.close()


def _said(spent: tuple[float, float]) -> str:
    return f"{spent[0]:.2f} CPU-s, {spent[1]:.2f} s wall"
