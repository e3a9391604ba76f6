"""What starting costs: ``import rung``, ``rung --help``, ``rung run``, ``rung serve`` until its first answer, ``rung up`` until it is ready.

``python -m benchmarks.startup serve`` measures only the parts that are named.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import psutil

import rung
from benchmarks.measure import command
from benchmarks.serving import ours

_TRIES = 5
_INPUTS = 30
_FLOW = Path(__file__).parent / "pipelines" / "peers" / "rung_flow.py"
_COMMAND = [sys.executable, "-m", "rung.cli.entry"]


def run(parts: Sequence[str] = ()) -> None:
    """Print the figures; byte code is compiled first, as an installed package's is."""
    compileall.compile_dir(str(Path(rung.__file__).parent), quiet=2)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["RUNG_WARM"] = "0"
    print(f"load {os.getloadavg()[0]:.1f}")
    known: dict[str, Callable[[], None]] = {"commands": _commands, "run": _pipeline, "serve": _serving, "up": _up}
    for part in parts or known:
        known[part]()


def _commands() -> None:
    bare = command([sys.executable, "-c", "pass"])
    for name, arguments in (
        ("import rung", [sys.executable, "-c", "import rung"]),
        ("rung --help", [str(Path(sys.executable).parent / "rung"), "--help"]),
    ):
        cpu, wall = command(arguments)
        print(f"{name:34} {cpu:.3f} CPU-s, {wall:.3f} s wall (python -c pass: {bare[0]:.3f})")


def _pipeline() -> None:
    """Twenty steps that do nothing: in a new home, all cached, and all executed again."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.copy(_FLOW, place / "pipelines.py")
        (place / "rung.toml").write_text('home = "home"\n')
        asked = [*_COMMAND, "run", "linear"]
        found = []
        for _ in range(_TRIES):
            shutil.rmtree(place / "home", ignore_errors=True)
            found.append(command(asked, repeats=1, cwd=folder))
        for name, figures in (
            ("rung run, 20 steps, new home", [statistics.median(part) for part in zip(*found, strict=True)]),
            ("rung run, 20 steps, cached", command(asked, cwd=folder)),
            ("rung run, 20 steps, kept home", command([*asked, "--no-cache"], cwd=folder)),
        ):
            print(f"{name:34} {figures[0]:.3f} CPU-s, {figures[1]:.3f} s wall")


def _serving() -> None:
    """From the process to the first answered prediction of two compiled models: boosted trees and a logistic regression."""
    with tempfile.TemporaryDirectory() as folder:
        place = ours.prepared(Path(folder))
        for workers in (0, 2):
            found = [_first_answer(place, workers) for _ in range(_TRIES)]
            wall, cpu, memory = (statistics.median(part) for part in zip(*found, strict=True))
            print(f"{f'rung serve --workers {workers}':34} {cpu:.3f} CPU-s, {wall:.3f} s wall to the first answer; {memory:.0f} MB RSS")


def _first_answer(place: Path, workers: int) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds of the process tree, and MB of the largest process."""
    port = _free_port()
    body = {"inputs": [{"name": f"f{place}", "shape": [1], "datatype": "FP64", "data": [0.5]} for place in range(_INPUTS)]}
    head = {"authorization": f"Bearer {ours.token(place)}"}
    start = time.perf_counter()
    process = subprocess.Popen([*_COMMAND, "serve", "--port", str(port), "--workers", str(workers)], cwd=place, stdout=subprocess.DEVNULL)
    try:
        for name in ("hgb", "lr"):
            _until(lambda name=name: httpx.post(f"http://127.0.0.1:{port}/v2/models/{name}/infer", content=json.dumps(body), headers=head))
        wall = time.perf_counter() - start
        tree = [found := psutil.Process(process.pid), *found.children(recursive=True)]
        times = [one.cpu_times() for one in tree]
        ended = times[0].children_user + times[0].children_system
        cpu = sum(one.user + one.system for one in times) + ended
        return wall, cpu, max(one.memory_info().rss for one in tree) / 1e6
    finally:
        process.terminate()
        process.wait(20)


def _up() -> None:
    fresh, kept = (statistics.median(_ready(keep=keep) for _ in range(_TRIES)) for keep in (False, True))
    print(f"{'rung up':34} ready after {fresh:.2f} s (new home), {kept:.2f} s (kept home)")


def _ready(*, keep: bool = False) -> float:
    home = Path(tempfile.gettempdir()) / "rung-bench-home" if keep else Path(tempfile.mkdtemp()) / "home"
    port = _free_port()
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "rung.cli.main", "--home", str(home), "up", "--port", str(port)], stdout=subprocess.DEVNULL
    )
    try:
        _until(lambda: httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=1))
        return time.perf_counter() - start
    finally:
        process.terminate()
        process.wait(20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _until(ask: Callable[[], httpx.Response]) -> None:
    until = time.perf_counter() + 30
    while time.perf_counter() < until:
        try:
            if ask().status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.005)
    raise TimeoutError("It did not answer in 30 s.")


if __name__ == "__main__":
    run(sys.argv[1:])
