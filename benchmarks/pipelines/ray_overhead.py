"""What Rung adds to a task of Ray: 1,000 no-op steps one by one beside 1,000 bare remote calls, and both in batches.

``python -m benchmarks.pipelines.ray_overhead [--rounds 5] [--json out.json]``. Sides alternate; medians of wall seconds and of
processor seconds of this machine's Ray processes and the driver. Batches are of the same size on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import ray

from rung.core.ids import new_id
from rung.engine.executors import EXECUTORS, Task
from rung.pipelines.context import StepContext
from rung.storage.blobs import open_blobs

COUNT, BATCH = 1000, 50


def nothing(x: int = 0) -> None:
    """The step."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), options.rounds)
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


def measured(folder: Path, rounds: int) -> dict[str, object]:
    """Medians of each side, and their ratios."""
    executor = EXECUTORS.get("ray")(open_blobs(f"file://{folder / 'blobs'}"), 2)
    (folder / "logs").mkdir()

    def task(items: int = 0) -> Task:
        return Task(
            id=new_id(), step="nothing", target="benchmarks.pipelines.ray_overhead:nothing", outputs=("output",), arguments={},
            context=StepContext(pipeline="p", pipeline_run="0" * 32, step="s", attempt=1, seed=7), log=folder / "logs" / "log",
            scratch=folder / "scratch", folder=Path.cwd(), environ={"RUNG_STORAGE_BLOBS": f"file://{folder / 'blobs'}"},
            items=tuple({"x": n} for n in range(items)),
        )  # fmt: skip

    def ours(count: int, items: int) -> None:
        for future in [executor.submit(task(items)) for _ in range(count)]:
            assert future.result().status == "succeeded"

    ours(20, 0)  # connects, and starts the workers of both sides
    bare = ray.remote(nothing)
    batched = ray.remote(_many)
    sides: dict[str, Callable[[], object]] = {
        "bare": lambda: ray.get([bare.remote() for _ in range(COUNT)]),
        "rung": lambda: ours(COUNT, 0),
        "bare batched": lambda: ray.get([batched.remote(BATCH) for _ in range(COUNT // BATCH)]),
        "rung batched": lambda: ours(COUNT // BATCH, BATCH),
    }
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            cpu, began = _cpu(), time.perf_counter()
            side()
            seen[name].append((time.perf_counter() - began, _cpu() - cpu))
    executor.close()
    medians = {name: [statistics.median(values) for values in zip(*times[1:], strict=True)] for name, times in seen.items()}
    return {
        "tasks": COUNT, "batch": BATCH, "rounds": rounds, "ray": ray.__version__, "python": sys.version.split()[0],
        "wall_s": {name: round(values[0], 3) for name, values in medians.items()},
        "cpu_s": {name: round(values[1], 3) for name, values in medians.items()},
        "ratio_wall": round(medians["rung"][0] / medians["bare"][0], 2), "ratio_cpu": round(medians["rung"][1] / medians["bare"][1], 2),
        "batched_ratio_wall": round(medians["rung batched"][0] / medians["bare batched"][0], 2),
    }  # fmt: skip


def _many(count: int) -> list[None]:
    return [nothing(n) for n in range(count)]


def _cpu() -> float:
    """Processor seconds of this process and of all that descend from it or belong to Ray here."""
    total = sum(os.times()[:2])
    for process in psutil.process_iter(["name", "cmdline"]):
        command = " ".join(process.info["cmdline"] or ())
        if process.pid != os.getpid() and ("ray::" in command or "/ray/core/" in command):
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            total += times.user + times.system
    return total


if __name__ == "__main__":
    main()
