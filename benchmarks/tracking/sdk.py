"""Our own SDK against a server of its own: calls accepted, points durable, what a batch costs on both sides."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from tests.servers import RunningServer, running_server

import rung
from rung.client.client import connect

CALLS = 200_000
ROUNDS = 5
_TICKS = os.sysconf("SC_CLK_TCK")


def run() -> None:
    """Print the measures, medians of several rounds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["RUNG_SPOOL"] = str(folder / "spool")
        with running_server(folder / "home", folder) as server, connect(server.url, server.token) as client:
            _logging(client, server)
            _short_runs(client)
            _history(client)


def _logging(client: rung.Client, server: RunningServer) -> None:
    accepted, durable, ours, theirs = [], [], [], []
    for _ in range(ROUNDS):
        with rung.start_run("sdk", client=client) as active:
            cpu, server_cpu, began = time.process_time(), _cpu_s(server), time.perf_counter()
            for step in range(CALLS):
                rung.log_metric("loss", 0.5, step)
            accepted.append(CALLS / (time.perf_counter() - began))
            active.flush(60)
            durable.append(CALLS / (time.perf_counter() - began))
            ours.append((time.process_time() - cpu) / CALLS * 1e6)
            theirs.append((_cpu_s(server) - server_cpu) / CALLS * 1e6)
        assert client.tracking.history(active.id, "loss").total == CALLS
    print(f"log_metric, calls accepted a second     {_spread(accepted)}")
    print(f"the same, points durable a second       {_spread(durable)}")
    print(f"client CPU a point, µs                  {_spread(ours, 2)}")
    print(f"server CPU a point, µs                  {_spread(theirs, 2)}")


def _short_runs(client: rung.Client) -> None:
    walls = []
    for _ in range(20):
        began = time.perf_counter()
        with rung.start_run("short", client=client):
            rung.log_metric("auc", 0.7)
        walls.append((time.perf_counter() - began) * 1000)
    print(f"open a run, log one metric, close, ms   {_spread(walls, 1)}")


def _history(client: rung.Client) -> None:
    with rung.start_run("history", client=client) as active:
        for step in range(1_000_000):
            rung.log_metric("loss", step % 1000 / 1000, step)
        active.flush(120)
    walls = []
    for _ in range(7):
        began = time.perf_counter()
        client.tracking.history(active.id, "loss", limit=2000)
        walls.append((time.perf_counter() - began) * 1000)
    print(f"history of 1M points for a plot, ms     {_spread(walls, 1)}")


def _cpu_s(server: RunningServer) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _spread(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f}  (from {min(values):,.{digits}f} to {max(values):,.{digits}f})"


if __name__ == "__main__":
    run()
