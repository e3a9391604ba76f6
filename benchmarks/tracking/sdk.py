"""Our own SDK against a server of its own: calls accepted, points durable, what a point costs on both sides, a long curve."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import rung
from benchmarks.tracking.board import Board
from benchmarks.tracking.processes import cpu_s
from benchmarks.tracking.servers import RUNG, Server
from benchmarks.tracking.sizes import Sizes
from rung.client.client import connect
from rung.tracking.records import PackMetrics

_MILLION = 1_000_000
_PLOTS = 9


def measure(server: Server, database: str, board: Board, sizes: Sizes) -> None:
    """Enter the measures of the SDK."""

    def add(name: str, unit: str, value: float) -> None:
        board.add(database, RUNG, f"our SDK, {name}", unit, value)

    with tempfile.TemporaryDirectory(prefix="rung-bench-spool-") as spool, connect(server.url, server.token) as client:
        os.environ["RUNG_SPOOL"] = str(Path(spool) / "spool")
        for _ in range(sizes.rounds):
            with rung.start_run("sdk", client=client) as active:
                cpu, server_cpu, began = time.process_time(), cpu_s(server.pid), time.perf_counter()
                for step in range(sizes.calls):
                    rung.log_metric("loss", 0.5, step)
                add("log_metric accepted", "calls/s", sizes.calls / (time.perf_counter() - began))
                active.flush(60)
                add("points durable", "points/s", sizes.calls / (time.perf_counter() - began))
                add("client CPU a point", "µs", (time.process_time() - cpu) / sizes.calls * 1e6)
                add("server CPU a point", "µs", (cpu_s(server.pid) - server_cpu) / sizes.calls * 1e6)
            if client.tracking.history(active.id, "loss").total != sizes.calls:
                raise RuntimeError("points are missing")
        for _ in range(_PLOTS):
            began = time.perf_counter()
            with rung.start_run("short", client=client):
                rung.log_metric("auc", 0.7)
            add("a run with one metric, opened and closed", "ms", (time.perf_counter() - began) * 1e3)
        with rung.start_run("curve", client=client) as active:
            for step in range(_MILLION):
                rung.log_metric("loss", step % 1000 / 1000, step)
            active.flush(120)
        while client.transport.call(PackMetrics()):  # what the engine does a few seconds later by itself
            pass
        for _ in range(_PLOTS):
            began = time.perf_counter()
            client.tracking.history(active.id, "loss", limit=2000)
            add("1M packed points as a plot of 2,000", "ms", (time.perf_counter() - began) * 1e3)
