"""What the engine costs: a no-op step executed durably, a cached one, and a cached rerun of twenty steps.

Run: python benchmarks/pipelines/engine.py. Prints medians over repeats of one process, with versions.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import load_settings
from rung.pipelines.authoring import pipeline, step

STEPS, REPEATS = 20, 7


@step
def noop(x: int) -> int:
    """One more."""
    return x + 1


@pipeline
def linear(start: int = 0) -> int:
    """Twenty steps in a row."""
    found = start
    for _ in range(STEPS):
        found = noop(found)
    return found


@pipeline
def empty() -> int:
    """No step: what a run costs by itself."""
    return 0


def _timed(call: object) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()  # type: ignore[operator]
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3


def main() -> None:
    """Measure and print."""
    folder = Path(tempfile.mkdtemp(prefix="rung-bench-"))
    client = Client(local_transport(load_settings(folder, environ={}, flags={"home": str(folder / "home")})))
    client.pipelines.run(linear, {"start": -1})  # imports, first connection, environment
    client.pipelines.run(empty)
    fresh = [_timed(lambda n=n: client.pipelines.run(linear, {"start": 1000 * n})) for n in range(1, REPEATS + 1)]  # type: ignore[misc]
    cached = [_timed(lambda: client.pipelines.run(linear, {"start": 1000})) for _ in range(REPEATS)]
    bare = [_timed(lambda: client.pipelines.run(empty)) for _ in range(REPEATS)]
    client.close()

    def median(pairs: list[tuple[float, float]], index: int) -> float:
        return statistics.median(pair[index] for pair in pairs)

    print(f"rung {version('rung')}, Python {platform.python_version()}, SQLAlchemy {version('SQLAlchemy')}, {platform.machine()}")
    print(f"{'':32} {'wall ms':>9} {'CPU ms':>9}")
    for name, pairs in (("run without steps", bare), (f"run of {STEPS} no-op steps", fresh), (f"cached rerun of {STEPS} steps", cached)):
        print(f"{name:32} {median(pairs, 0):9.1f} {median(pairs, 1):9.1f}")
    for name, pairs, target in (("durable no-op step", fresh, 10.0), ("cached step", cached, 1.0)):
        each = (median(pairs, 1) - median(bare, 1)) / STEPS
        print(f"{name}: {each:.2f} ms CPU (target {target:g})")
    whole = folder / "project"
    whole.mkdir()
    (whole / "rung.toml").write_text("")
    (whole / "pipelines.py").write_text(Path(__file__).read_text().partition("def _timed")[0])
    walls = []
    for _ in range(4):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "rung.cli.main", "run", "linear"], cwd=whole, check=True, capture_output=True)
        walls.append((time.perf_counter() - began) * 1e3)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import rung.app.local, rung.pipelines.operations"], check=True)
    print(
        f"whole command: first {walls[0]:.0f} ms, cached {statistics.median(walls[1:]):.0f} ms; interpreter and imports of the platform {(time.perf_counter() - began) * 1e3:.0f} ms"
    )


if __name__ == "__main__":
    main()
