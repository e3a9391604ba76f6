"""A platform and an inference node as processes that may be killed and started again, and load on the node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from rung.client.client import Client
from rung.client.transports import HttpTransport
from rung.engine.workers.keeper import kill_tree
from tests.servers import free_port, wait_until

INPUTS = 4
NAME = "storm"
_PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("RUNG_")}


@dataclass
class Program:
    """``rung`` with some arguments, on a port that stays its own."""

    folder: Path
    arguments: tuple[str, ...]
    port: int
    environ: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.port}.log"

    def start(self, *, ready: bool = True) -> None:
        """Start it, and wait until it is ready."""
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "rung.cli.main", "--set", "server.grpc_port=0", *self.arguments, "--port", str(self.port)]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=output, stderr=subprocess.STDOUT, env={**_PLAIN, **self.environ}
            )
        if ready:
            wait_until(self.ready, 180, lambda: f"it does not get ready:\n{self.log.read_text()}", self.process)

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """kill -9 of it and of all it started."""
        if self.process is not None:
            kill_tree(self.process.pid)
            self.process.wait()

    def stop(self) -> int:
        """End it in order; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@dataclass
class Nodes:
    """A platform with the deployment ``storm``, a token for nodes and one for callers."""

    folder: Path
    platform: Program
    client: Client
    node_token: str
    caller_token: str

    def node(self, name: str, *arguments: str, settings: tuple[str, ...] = ()) -> Program:
        """A node of this platform, not started."""
        environ = {"RUNG_TOKEN": self.node_token, "RUNG_URL": self.platform.url}
        return Program(self.folder / name, (*settings, "serve", *arguments), free_port(), environ)

    def logged(self) -> list[str]:
        """Ids in the platform's log."""
        return list(self.client.serving.predictions(NAME, columns=[])["prediction_id"].to_list())

    def close(self) -> None:
        self.client.close()
        self.platform.kill()


def platform_with_model(folder: Path, versions: int = 2) -> Nodes:
    """A platform that serves the first of some logistic regressions."""
    folder.mkdir(exist_ok=True)
    platform = Program(folder / "platform", ("up",), free_port())
    platform.start()
    client = Client(HttpTransport(platform.url, (folder / "platform" / ".rung" / "token").read_text().strip()))
    rows = np.random.default_rng(0).normal(size=(200, INPUTS))
    frame = pl.DataFrame({f"x{place}": rows[:, place] for place in range(INPUTS)})
    for number in range(versions):
        client.registry.register(NAME, LogisticRegression(C=10.0**-number).fit(rows, rows.sum(axis=1) > 0), example=frame, label="y")
    client.serving.deploy(NAME, NAME, 1, environment="staging")
    client.governance.create_principal("edge", kind="service", role="node")
    client.governance.create_principal("app", kind="service", role="editor")
    return Nodes(folder, platform, client, client.governance.create_token("edge").secret, client.governance.create_token("app").secret)


def body(key: str) -> dict[str, object]:
    """One row under an id."""
    columns = [{"name": f"x{place}", "shape": [1], "datatype": "FP64", "data": [0.5]} for place in range(INPUTS)]
    return {"inputs": [*columns, {"name": "prediction_id", "shape": [1], "datatype": "BYTES", "data": [key]}]}


class Load:
    """Threads that ask a node, an id of its own with each attempt; ``answered`` are those that came back."""

    def __init__(self, node: Program, token: str, name: str, threads: int = 4) -> None:
        self.answered: list[str] = []
        self.tried = 0
        self._node, self._token, self._name = node, token, name
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def until(self, answered: int) -> None:
        """Wait until so many were answered."""
        wait_until(lambda: len(self.answered) >= answered, 180, lambda: f"{len(self.answered)} of {self.tried} answered")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, thread: int) -> None:
        url, count = f"{self._node.url}/v2/models/{NAME}/infer", 0
        http = httpx.Client(headers={"authorization": f"Bearer {self._token}"}, timeout=10)
        while not self._stop.is_set():
            count += 1
            self.tried += 1
            key = f"{self._name}-{thread}-{count}"
            with suppress(httpx.TransportError):
                if http.post(url, json=body(key)).status_code == 200:
                    self.answered.append(key)
                    continue
            time.sleep(0.02)
        http.close()
