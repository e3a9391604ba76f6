"""What starting costs: ``import rung``, ``rung --help``, and ``rung up`` until it is ready."""

from __future__ import annotations

import compileall
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

import rung
from benchmarks.measure import command

_TRIES = 5


def run() -> None:
    """Print the figures; byte code is compiled first, as an installed package's is."""
    compileall.compile_dir(str(Path(rung.__file__).parent), quiet=2)
    bare = command([sys.executable, "-c", "pass"])
    for name, arguments in (
        ("import rung", [sys.executable, "-c", "import rung"]),
        ("rung --help", [str(Path(sys.executable).parent / "rung"), "--help"]),
    ):
        cpu, wall = command(arguments)
        print(f"{name:14} {cpu:.3f} CPU-s, {wall:.3f} s wall (python -c pass: {bare[0]:.3f})")
    fresh, kept = (statistics.median(_ready(keep=keep) for _ in range(_TRIES)) for keep in (False, True))
    print(f"rung up        ready after {fresh:.2f} s (new home), {kept:.2f} s (kept home)")


def _ready(*, keep: bool = False) -> float:
    home = Path(tempfile.gettempdir()) / "rung-bench-home" if keep else Path(tempfile.mkdtemp()) / "home"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "rung.cli.main", "--home", str(home), "up", "--port", str(port)], stdout=subprocess.DEVNULL
    )
    try:
        while time.perf_counter() - start < 30:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=1).status_code == 200:
                    return time.perf_counter() - start
            except httpx.TransportError:
                time.sleep(0.01)
        raise TimeoutError("rung up did not get ready in 30 s")
    finally:
        process.terminate()
        process.wait(20)
