"""A server that keeps its blobs in a bucket: uploads, ranges, collecting and checking over HTTP, and a server killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from rung.client.client import Client
from rung.client.transports import HttpTransport
from rung.core.digests import digest_of
from rung.core.errors import NotFound
from tests.servers import RunningServer, S3Server, running_server


@pytest.fixture
def url(s3: S3Server, tmp_path: Path) -> str:
    return s3.url(s3.bucket, f"served/{uuid4().hex}", tmp_path / "copies")


@pytest.fixture
def server(url: str, home: Path, tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(home, tmp_path, settings=("--set", f"storage.blobs={url}")) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Client]:
    with Client(HttpTransport(server.url, server.token)) as opened:
        yield opened


def test_artifacts_go_to_the_bucket_and_come_back_whole_and_in_ranges(client: Client, server: RunningServer, tmp_path: Path) -> None:
    large = os.urandom(20 << 20)
    (tmp_path / "large.bin").write_bytes(large)
    run = client.tracking.start("a")
    client.tracking.log_artifact(run.id, b"small", "small.txt")
    client.tracking.log_artifact(run.id, tmp_path / "large.bin", "large.bin")
    assert client.tracking.read_artifact(run.id, "small.txt") == b"small"
    assert client.tracking.read_artifact(run.id, "large.bin") == large
    headers = {"authorization": f"Bearer {server.token}", "range": "bytes=8388600-8388620"}
    part = httpx.get(f"{server.url}/api/blobs/{digest_of(large)}", headers=headers, timeout=60)
    assert (part.status_code, part.content) == (206, large[8388600:8388621])
    assert list((server.home / "incoming").iterdir()) == []
    assert not (server.home / "blobs").exists()


def test_garbage_is_collected_and_the_storage_checked_over_http(client: Client) -> None:
    orphan = client.transport.put_blob(b"named by nobody")
    run = client.tracking.start("a")
    client.tracking.log_artifact(run.id, b"small", "small.txt")
    assert client.governance.collect_garbage().blobs == 0
    assert client.governance.check_storage(sample=None).sound
    assert client.transport.get_blob(orphan) == b"named by nobody"
    with pytest.raises(NotFound):
        client.transport.get_blob(digest_of(b"never put"))


UPLOADER = """
import os, sys
from rung.client.transports import HttpTransport
transport = HttpTransport(sys.argv[1], sys.argv[2])
for n in range(1000):
    data = f"{n} ".encode() * 300_000
    os.write(1, f"{transport.put_blob(data)}\\n".encode())
"""


def test_what_a_killed_server_acknowledged_is_in_the_bucket(server: RunningServer, url: str) -> None:
    from rung.storage.blobs import open_blobs

    uploader = subprocess.Popen(
        [sys.executable, "-c", UPLOADER, server.url, server.token], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert uploader.stdout is not None
    acknowledged = [uploader.stdout.readline().strip() for _ in range(5)]
    server.process.send_signal(signal.SIGKILL)
    rest, _ = uploader.communicate(timeout=60)
    acknowledged += rest.split()
    blobs = open_blobs(url)
    held = set(blobs.list())
    assert set(acknowledged) <= held
    assert all(digest_of(blobs.get(digest)) == digest for digest in held)
