"""The servers that are compared: ours, and MLflow's with its default of four workers and as one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import free_port

from benchmarks.tracking.processes import cpu_s, memory_mb, tree

_REST_S = 4.0
RUNG, ONE, DEFAULT = "Rung", "MLflow one process", "MLflow default"
KINDS = {"rung": RUNG, "one": ONE, "default": DEFAULT}


@dataclass
class Server:
    """A running server and what its start cost."""

    name: str
    url: str
    pid: int
    token: str = ""
    start: dict[str, tuple[str, float]] = field(default_factory=dict)


@contextmanager
def serving(name: str, folder: Path, database: str, rest_s: float = _REST_S) -> Iterator[Server]:
    """A server of one of the three kinds on a database, an SQLite file when empty; its files lie in ``folder``."""
    port, token = free_port(), ""
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    if name == RUNG:
        command = [sys.executable, "-m", "rung.cli.main", "--home", str(folder / "home"), "--set", f"server.port={port}"]
        command += ["--set", f"storage.database={database}"] if database else []
        command.append("up")
        health = f"{url}/healthz"
    else:
        store = database.replace("postgresql://", "postgresql+psycopg://") if database else f"sqlite:///{folder}/mlflow.db"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--backend-store-uri", store]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        if name == ONE:
            command += ["--workers", "1"]
            environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        health = f"{url}/health"
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )  # fmt: skip
    try:
        while not _answers(health):
            if process.poll() is not None or time.perf_counter() - start > 300:
                raise RuntimeError(f"{name} did not come up: {' '.join(command)}")
            time.sleep(0.01)
        wall, cpu = time.perf_counter() - start, cpu_s(process.pid)
        if name == RUNG:
            token = (folder / "home" / "token").read_text().strip()
        time.sleep(rest_s)
        start_figures = {
            "cold start, processor time": ("CPU-s", cpu),
            "cold start, until it answers": ("s", wall),
            "processes": ("processes", float(len(tree(process.pid)))),
            "memory at rest": ("MB", memory_mb(process.pid)),
            "memory at rest, shared pages once": ("MB", memory_mb(process.pid, "Pss")),
        }
        yield Server(name, url, process.pid, token, start_figures)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
