"""A raw HTTP client under load: many kept connections, each answer checked, whatever fails written down with its instant."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import load_settings
from rung.engine.workers.keeper import children_of, kill_tree
from tests.servers import free_port, wait_until

INPUTS = 4
NAME = "storm"


@dataclass
class Failure:
    """A request that was not answered with 200 at the first attempt."""

    number: int
    at: float
    what: str
    retried: bool = False


@dataclass
class Storm:
    """Requests by ``connections`` kept connections; ``answered`` are the prediction ids that came back.

    It ends after ``total`` of them; with ``blows`` it goes on, more gently, for as long as that is set.
    """

    port: int
    token: str
    total: int
    connections: int = 64
    blows: bool = False
    path: str = f"/v2/models/{NAME}/infer"
    answered: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    _next: int = 0

    def start(self) -> threading.Thread:
        """Run in a thread of its own."""
        thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        thread.start()
        return thread

    async def _run(self) -> None:
        await asyncio.gather(*(self._connection() for _ in range(self.connections)))

    async def _connection(self) -> None:
        held: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while self.blows or self._next < self.total:
            if self._next >= self.total:
                await asyncio.sleep(0.01)
            number, self._next = self._next, self._next + 1
            for attempt in range(2):
                try:
                    if held is None:
                        held = await asyncio.open_connection("127.0.0.1", self.port)
                    status, body, kept = await self._ask(*held, number)
                except (OSError, EOFError) as error:
                    held = await _closed(held)
                    self._failed(number, attempt, repr(error))
                    continue
                if not kept:
                    held = await _closed(held)
                if status == 200:
                    self._took(number, attempt, json.loads(body))
                    break
                self._failed(number, attempt, f"{status} {body[:200]!r}")
        await _closed(held)

    @property
    def asked(self) -> int:
        """How many requests were begun."""
        return self._next

    def _failed(self, number: int, attempt: int, what: str) -> None:
        self.failures.append(Failure(number, time.monotonic(), what if attempt == 0 else f"again: {what}"))

    def _took(self, number: int, attempt: int, answer: dict[str, object]) -> None:
        outputs = {tensor["name"]: tensor["data"] for tensor in answer["outputs"]}  # type: ignore[attr-defined, index]
        assert outputs["prediction_id"] == [f"storm-{number}"], answer
        self.answered.append(f"storm-{number}")
        self.versions[str(answer["model_version"])] += 1
        if attempt:
            next(failure for failure in self.failures if failure.number == number).retried = True

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> tuple[int, bytes, bool]:
        columns = [{"name": f"x{place}", "shape": [1], "datatype": "FP64", "data": [(number + place) % 7 / 7]} for place in range(INPUTS)]
        key = {"name": "prediction_id", "shape": [1], "datatype": "BYTES", "data": [f"storm-{number}"]}
        body = json.dumps({"inputs": [*columns, key]}).encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.token}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        first = await reader.readuntil(b"\r\n\r\n")
        lines = first.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        content = await reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split()[1]), content, headers.get("connection", "").lower() != "close"


async def _closed(held: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None) -> None:
    if held is not None:
        held[1].close()
        with suppress(OSError):
            await held[1].wait_closed()


@dataclass
class Serving:
    """A running ``rung serve``, and a client of the same home."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path
    client: Client
    token: str

    def workers(self) -> list[int]:
        """Pids of the worker processes."""
        return [pid for pid in children_of(self.process.pid) if _name_of(pid) == "rung-worker"]

    def get(self, path: str) -> httpx.Response:
        """An answer to GET, on a connection of its own."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers={"authorization": f"Bearer {self.token}"}, timeout=60)

    def kill(self) -> None:
        """kill -9 of everything."""
        kill_tree(self.process.pid)
        self.process.wait()


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # it has ended
        return ""


def home_with_model(folder: Path, versions: int = 3) -> tuple[Client, str]:
    """A home whose deployment ``storm`` serves the first of some logistic regressions."""
    client = Client(local_transport(load_settings(folder, environ={})))
    chance = np.random.default_rng(0)
    rows = chance.normal(size=(200, INPUTS))
    frame = pl.DataFrame({f"x{place}": rows[:, place] for place in range(INPUTS)})
    for number in range(versions):
        model = LogisticRegression(C=10.0**-number).fit(rows, rows.sum(axis=1) > 0)
        client.registry.register(NAME, model, example=frame, label="y")
    client.serving.deploy(NAME, NAME, 1, environment="staging")
    return client, (folder / ".rung" / "token").read_text().strip()


@contextmanager
def serving(folder: Path, *arguments: str, settings: tuple[str, ...] = (), environ: dict[str, str] | None = None) -> Iterator[Serving]:
    """``rung serve`` over a home made by ``home_with_model``."""
    client, token = home_with_model(folder)
    port, log = free_port(), folder / "serve.log"
    command = [sys.executable, "-m", "rung.cli.main", *settings, "serve", "--port", str(port), *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environ or {})})
    held = Serving(port, process, log, client, token)
    try:
        wait_until(lambda: "Rung serves at" in log.read_text(), 180, lambda: f"it does not serve:\n{log.read_text()}", process)
        yield held
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
        kill_tree(process.pid)
        process.wait()
        client.close()
