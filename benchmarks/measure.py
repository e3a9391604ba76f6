"""CPU and wall time of whole commands and of functions, as the median of several runs."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version


def versions(*packages: str) -> str:
    """Python, machine and package versions in one line."""
    named = ("rung", "sqlalchemy", "polars", "numpy", "scikit-learn", *packages)
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, " + ", ".join(f"{name} {version(name)}" for name in named)


def command(
    arguments: Sequence[str], *, repeats: int = 5, environment: dict[str, str] | None = None, cwd: str | None = None
) -> tuple[float, float]:
    """Median CPU seconds (user + system, children included) and wall seconds of a command."""
    cpu, wall = [], []
    for _ in range(repeats):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            arguments, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **(environment or {})}, cwd=cwd
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr.decode('utf-8', 'replace')}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append(time.perf_counter() - start)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(cpu), statistics.median(wall)


def function(work: Callable[[], object], *, repeats: int = 5) -> tuple[float, float]:
    """Median CPU seconds of this process and wall seconds of a call."""
    cpu, wall = [], []
    for _ in range(repeats):
        begun, start = time.process_time(), time.perf_counter()
        work()
        cpu.append(time.process_time() - begun)
        wall.append(time.perf_counter() - start)
    return statistics.median(cpu), statistics.median(wall)
