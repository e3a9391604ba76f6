"""What the engine itself costs: a durable step, a cached one, a step in the warm pool, a wide map, and its memory."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

STEPS, REPEATS = 20, 7
_PROJECT = '''
from rung import pipeline, step


@step
def noop(x: int) -> int:
    """One more."""
    return x + 1


@step(isolated=True)
def apart(x: int) -> int:
    """One more, in a worker of the pool."""
    return x + 1


@pipeline
def linear(start: int = 0) -> int:
    """Twenty steps in a row."""
    for _ in range(20):
        start = noop(start)
    return start


@pipeline
def isolated(start: int = 0) -> int:
    """Twenty steps in a row, apart from the engine."""
    for _ in range(20):
        start = apart(start)
    return start


@pipeline
def wide(start: int = 0) -> list:
    """Ten thousand items of a map."""
    return noop.map(list(range(start, start + 10_000)))


@pipeline
def empty() -> int:
    """No step: what a run costs by itself."""
    return 0
'''


def measured() -> list[tuple[str, str, str]]:
    """Measure, figure with its unit, target; each kind in a process of its own, so that memory is told apart."""
    rows = []
    for part in ("inline", "pool", "wide"):
        done = subprocess.run([sys.executable, "-m", "benchmarks.pipelines.engine", part], check=True, capture_output=True, text=True)
        rows += [(measure, figure, target) for measure, figure, target in (line.split("\t") for line in done.stdout.splitlines())]
    return rows


def main(part: str) -> None:
    """Measure one part and print it, a line a figure."""
    from rung.app.local import local_transport
    from rung.client.client import Client
    from rung.core.settings import load_settings

    with tempfile.TemporaryDirectory(prefix="rung-bench-") as name:
        folder = Path(name)
        (folder / "rung.toml").write_text('home = "home"\n')
        (folder / "pipelines.py").write_text(_PROJECT)
        client = Client(local_transport(load_settings(folder, environ={})))
        runs = client.pipelines.run
        try:
            {"inline": _inline, "pool": _pool, "wide": _wide}[part](runs)
        finally:
            client.close()


def _inline(runs: Callable[..., object]) -> None:
    runs("linear", {"start": -1})
    runs("empty")
    fresh = [_timed(lambda n=n: runs("linear", {"start": 1000 * n})) for n in range(1, REPEATS + 1)]  # type: ignore[misc]
    cached = [_timed(lambda: runs("linear", {"start": 1000})) for _ in range(REPEATS)]
    bare = [_timed(lambda: runs("empty")) for _ in range(REPEATS)]
    _tell("durable no-op step beside the engine, CPU", f"{(_median(fresh, 1) - _median(bare, 1)) / STEPS:.2f} ms", "2 ms")
    _tell("cached step, CPU", f"{(_median(cached, 1) - _median(bare, 1)) / STEPS:.2f} ms", "1 ms")
    _tell("cached rerun of 20 steps in a process that runs, wall", f"{_median(cached, 0):.0f} ms", "30 ms")
    _tell("largest memory of the process", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB", "80 MB")


def _pool(runs: Callable[..., object]) -> None:
    runs("isolated", {"start": -1})
    runs("linear", {"start": -1})
    pairs = [
        (_timed(lambda n=n: runs("isolated", {"start": 1000 * n})), _timed(lambda n=n: runs("linear", {"start": 1000 * n})))  # type: ignore[misc]
        for n in range(1, REPEATS + 1)
    ]
    over = statistics.median((apart[0] - beside[0]) / STEPS for apart, beside in pairs)
    _tell("step in the warm pool, more than beside the engine, wall", f"{over:.2f} ms", "5 ms")


def _wide(runs: Callable[..., object]) -> None:
    runs("empty")
    wall, cpu = _timed(lambda: runs("wide", {"start": 0}))
    _tell("map of 10,000 no-op items, wall", f"{wall / 1e3:.2f} s", "5 s")
    _tell("map of 10,000 no-op items, CPU", f"{cpu / 1e3:.2f} s", "")
    wall, cpu = _timed(lambda: runs("wide", {"start": 0}))
    _tell("the same, cached, wall", f"{wall / 1e3:.2f} s", "")
    _tell("largest memory of the process", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB", "")


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU milliseconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def _median(pairs: list[tuple[float, float]], index: int) -> float:
    return statistics.median(pair[index] for pair in pairs)


def _tell(measure: str, figure: str, target: str) -> None:
    print(f"{measure}\t{figure}\t{target}", flush=True)


def run() -> None:
    """What ``python -m benchmarks`` does with this."""
    for row in measured():
        print(f"{row[0]:60} {row[1]:>12}  target {row[2] or '-'}")


if __name__ == "__main__":
    main(sys.argv[1])
