"""Real servers for tests: started on free loopback ports, stopped by the process handle that started them."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg


@dataclass
class RunningServer:
    """A ``rung up`` process."""

    url: str
    token: str
    home: Path
    process: subprocess.Popen[bytes]


@contextmanager
def running_server(home: Path, folder: Path, *arguments: str, settings: Sequence[str] = ()) -> Iterator[RunningServer]:
    """Start ``rung up`` on a free port with its home in ``home``; stop it at the end.

    ``arguments`` are those of ``up``, ``settings`` those of ``rung`` itself.
    """
    port = free_port()
    log = folder / "server.log"
    command = [sys.executable, "-m", "rung.cli.main", "--home", str(home), "--set", f"server.port={port}", *settings, "up", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _ready(url), 60, lambda: f"the server did not get ready:\n{log.read_text()}", process)
        yield RunningServer(url=url, token=(home / "token").read_text().strip(), home=home, process=process)
    finally:
        stop(process)


class PostgresServer:
    """A PostgreSQL cluster in a temporary folder."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._made = 0

    def new_database(self) -> str:
        """The URL of a fresh, empty database."""
        self._made += 1
        name = f"rung_{os.getpid()}_{self._made}"
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=rung dbname=postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://rung@127.0.0.1:{self.port}/{name}"


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server on a free port; as root it runs under the machine's ``postgres`` account."""
    folder = Path(tempfile.mkdtemp(prefix="rung-postgres-"))
    account = _account()
    if account:
        shutil.chown(folder, account)
    data, port = folder / "data", free_port()
    try:
        _as(account, [str(_binary("initdb")), "-D", str(data), "-U", "rung", "-A", "trust", "-E", "UTF8", "--no-sync"])
        process = subprocess.Popen(
            [str(_binary("postgres")), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-c", "fsync=off"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=account,
        )  # fmt: skip
        try:
            wait_until(lambda: _accepts(port), 60, lambda: "PostgreSQL did not start", process)
            yield PostgresServer(port)
        finally:
            process.send_signal(2)
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A loopback port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], bool], seconds: float, why: Callable[[], str], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait for a condition; fail with ``why`` when it does not come, or when the process ends first."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            raise AssertionError(why())
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process we started: ask first, then insist."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
        return
    process.kill()
    process.wait(15)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _accepts(port: int) -> bool:
    try:
        psycopg.connect(f"host=127.0.0.1 port={port} user=rung dbname=postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _account() -> str | None:
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            pwd.getpwnam(name)
            return name
    return None


def _binary(name: str) -> Path:
    candidates = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    found = shutil.which(name)
    if not candidates and not found:
        raise AssertionError(f"{name} is not installed: apt-get install postgresql")
    return candidates[0] if candidates else Path(str(found))


def _as(account: str | None, command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=account)
