"""What only a bucket can do wrong: addresses, credentials, networks, damage, copies that fill a disk."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from click.testing import CliRunner

from rung.app.local import local_transport
from rung.cli.main import cli
from rung.client.client import Client
from rung.core.digests import digest_of
from rung.core.errors import Conflict, Invalid, NotFound, Unavailable
from rung.core.settings import load_settings
from rung.storage.blobs import open_blobs
from rung.storage.blobs.s3 import S3Blobs
from tests.servers import S3Server, free_port


@pytest.fixture
def url(s3: S3Server, tmp_path: Path) -> str:
    return s3.url(s3.bucket, f"team/{uuid4().hex}", tmp_path / "copies")


@pytest.fixture
def stored(url: str) -> Callable[[str], Any]:
    """The bare objects below the prefix, for a look behind the store."""
    return S3Blobs(url)._store


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://", "not the address of a bucket"),
        ("s3://key:secret@bucket/prefix", "not the address of a bucket"),
        ("s3://bucket?endpont=http://x", "no option 'endpont'"),
        ("s3://bucket?cache_mb=many", "not a number of MiB"),
    ],
)
def test_addresses_that_cannot_be_meant_are_refused_without_repeating_a_secret(url: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        open_blobs(url)
    assert "secret" not in caught.value.message


def test_wrong_credentials_are_named_as_such(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for ask in (lambda b: b.put(b"abc"), lambda b: b.exists(digest_of(b"abc")), lambda b: list(b.list())):
        with pytest.raises(Unavailable, match="refuses these credentials") as caught:
            ask(open_blobs(url))
        assert caught.value.code == "blobs.refused"


def test_a_server_that_is_away_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rung.storage.blobs.s3._PATIENCE_S", 0.2)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    blobs = open_blobs(f"s3://bucket?endpoint=http://127.0.0.1:{free_port()}&cache={tmp_path}")
    with pytest.raises(Unavailable, match="does not answer"):
        blobs.put(b"abc")


def test_in_a_bucket_that_is_not_there_nothing_is_found(s3: S3Server, tmp_path: Path) -> None:
    blobs = open_blobs(s3.url("never-made", "", tmp_path))
    assert not blobs.exists(digest_of(b"abc"))
    with pytest.raises(NotFound):
        blobs.get(digest_of(b"abc"))


@pytest.mark.parametrize("size", [10, 9 << 20])
def test_damage_in_the_bucket_is_noticed_by_every_reader(url: str, stored: Any, size: int) -> None:
    blobs = open_blobs(url)
    digest = blobs.put(b"x" * size)
    stored.put(f"{digest[7:9]}/{digest[9:]}", b"y" * size)
    with pytest.raises(Unavailable, match="damaged"):
        blobs.get(digest)
    with pytest.raises(Unavailable, match="damaged"):
        blobs.url(digest)


def test_a_file_that_changes_while_it_is_read_leaves_nothing(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = open_blobs(url)
    file = tmp_path / "f"
    file.write_bytes(b"x" * (20 << 20))
    asked = S3Blobs._is_young

    def changes(self: S3Blobs, digest: str) -> bool:  # called between hashing and sending
        file.write_bytes(b"y" * (20 << 20))
        return asked(self, digest)

    monkeypatch.setattr(S3Blobs, "_is_young", changes)
    with pytest.raises(Conflict, match="changed"):
        blobs.put(file)
    assert list(blobs.list()) == []


def test_what_else_lies_in_the_bucket_is_not_listed(url: str, stored: Any) -> None:
    blobs = open_blobs(url)
    digest = blobs.put(b"abc")
    stored.put("readme.txt", b"of somebody else")
    stored.put("ab/short", b"no digest")
    assert list(blobs.list()) == [digest]


def test_a_blob_put_again_counts_as_new_once_it_is_old(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs: Any = open_blobs(url)
    data = b"x" * (2 << 20)
    blobs.put(data)
    first = blobs.stored_at(digest_of(data))
    time.sleep(1.1)
    blobs.put(data)
    assert blobs.stored_at(digest_of(data)) == first  # young: sent once
    monkeypatch.setattr("rung.storage.blobs.s3._YOUNG_S", 0.0)
    blobs.put(data)
    assert blobs.stored_at(digest_of(data)) > first


def test_copies_make_room_for_each_other_but_not_while_they_are_in_use(url: str, tmp_path: Path) -> None:
    blobs = open_blobs(url + "&cache_mb=3")
    digests = [blobs.put(bytes([n]) * (2 << 20)) for n in range(3)]
    paths = [Path(blobs.url(digest)) for digest in digests]
    assert all(path.is_file() for path in paths)
    old = time.time() - 7200
    for path in paths[:2]:
        os.utime(path, (old, old))
    Path(blobs.url(digests[0]))  # in use again
    blobs.url(blobs.put(bytes([9]) * (2 << 20)))
    assert [path.is_file() for path in paths] == [True, False, True]
    assert blobs.get(digests[1]) == bytes([1]) * (2 << 20)


def test_a_platform_keeps_its_blobs_in_a_bucket(url: str, tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / "home"), "storage.blobs": url})
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    with Client(local_transport(settings)) as client:
        client.data.add("numbers", tmp_path / "t.csv")
        assert client.data.frame("numbers").height == 2
    assert list(open_blobs(url).list())
    assert not (tmp_path / "home" / "blobs").exists()


@pytest.mark.parametrize("size", [(8 << 20) - 1, 8 << 20, (16 << 20) + 1, 37 << 20])
def test_a_large_file_goes_in_parts_and_comes_back_in_ranges(url: str, tmp_path: Path, size: int) -> None:
    blobs = open_blobs(url)
    file = tmp_path / "large"
    file.write_bytes(os.urandom(1 << 20) * (size // (1 << 20)) + os.urandom(size % (1 << 20)))
    digest = blobs.put(file)
    assert digest == digest_of(file.read_bytes())
    assert blobs.get(digest) == file.read_bytes()
    assert Path(blobs.url(digest)).read_bytes() == file.read_bytes()


def test_lists_of_several_pages_are_whole(url: str) -> None:
    blobs: Any = open_blobs(url)
    with ThreadPoolExecutor(16) as pool:
        digests = list(pool.map(lambda n: blobs.put(b"%d" % n), range(1100)))  # a page has 1000
    assert sorted(blobs.list()) == sorted(digests)
    assert {kept.size for kept in blobs.inventory()} == {1, 2, 3, 4}


class Answers(BaseHTTPRequestHandler):
    """A server of S3 that is out of order in one way."""

    status, body, pause = 503, b"", 0.0
    asked: ClassVar[list[str]] = []

    def answer(self) -> None:
        self.asked.append(self.command)
        time.sleep(self.pause)
        self.send_response(self.status)
        self.send_header("content-length", str(len(self.body)))
        with suppress(BrokenPipeError):  # who asked has given up
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(self.body)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815 - the names that the base class asks for

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[Answers], str]]:
    """A server whose answers a test chooses, and the address of a store on it."""
    kind = type("Chosen", (Answers,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    yield kind, f"s3://bucket?endpoint=http://127.0.0.1:{server.server_address[1]}&cache={tmp_path}"
    server.shutdown()
    server.server_close()


def test_a_busy_server_is_asked_a_few_times_and_no_more(faulty: tuple[type[Answers], str]) -> None:
    kind, url = faulty
    before = time.monotonic()
    with pytest.raises(Unavailable, match="does not answer") as caught:
        open_blobs(url).put(b"abc")
    assert kind.asked == ["PUT"] * 5
    assert time.monotonic() - before < 120
    assert caught.value.code == "blobs.unreachable"


def test_a_server_that_never_answers_is_not_waited_for_without_end(
    faulty: tuple[type[Answers], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, url = faulty
    kind.pause = 60.0
    monkeypatch.setattr("rung.storage.blobs.s3._ANSWER_S", 0.2)
    monkeypatch.setattr("rung.storage.blobs.s3._PATIENCE_S", 0.5)
    before = time.monotonic()
    with pytest.raises(Unavailable, match="does not answer"):
        open_blobs(url).get(digest_of(b"abc"))
    assert time.monotonic() - before < 50


def test_a_put_into_no_bucket_says_so(faulty: tuple[type[Answers], str]) -> None:
    kind, url = faulty
    kind.status = 404
    kind.body = b"<?xml version='1.0'?><Error><Code>NoSuchBucket</Code><Message>The bucket does not exist</Message></Error>"
    with pytest.raises(Unavailable, match="There is no bucket") as caught:
        open_blobs(url).put(b"abc")
    assert caught.value.code == "blobs.no_bucket"


def test_garbage_is_collected_in_a_bucket(url: str, tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / "home"), "storage.blobs": url})
    with Client(local_transport(settings)) as client:
        run = client.tracking.start("a")
        client.tracking.log_artifact(run.id, b"kept", "notes.txt")
        inner = client.transport.put_blob(b"a file of a snapshot")
        client.tracking.log_artifact(run.id, f'{{"files": ["{inner}"]}}'.encode(), "manifest.json")
        orphan = client.transport.put_blob(b"named by nobody")
        assert client.governance.collect_garbage().blobs == 0  # all are young
        time.sleep(1.1)  # ages are whole seconds in a bucket
        assert client.governance.collect_garbage(grace_hours=0, dry_run=True).blobs == 1
        done = client.governance.collect_garbage(grace_hours=0)
        assert (done.blobs, done.freed_bytes) == (1, 15)
        assert client.tracking.read_artifact(run.id, "notes.txt") == b"kept"
        assert client.transport.get_blob(inner) == b"a file of a snapshot"
        with pytest.raises(NotFound):
            client.transport.get_blob(orphan)


def test_bytes_put_again_since_are_not_discarded(url: str) -> None:
    blobs: Any = open_blobs(url)
    digest = blobs.put(b"abc")
    assert blobs.discard(digest, datetime.now(UTC) - timedelta(minutes=1)) is None
    assert blobs.discard(digest, datetime.now(UTC) + timedelta(minutes=1)) == 3
    assert blobs.discard(digest, datetime.now(UTC)) is None
    assert not blobs.exists(digest)


def test_the_check_finds_a_damaged_object_and_sets_it_aside(url: str, stored: Any, tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / "home"), "storage.blobs": url})
    with Client(local_transport(settings)) as client:
        run = client.tracking.start("a")
        client.tracking.log_artifact(run.id, b"kept", "notes.txt")
        assert client.governance.check_storage(sample=None).sound
        digest = digest_of(b"kept")
        stored.put(f"{digest[7:9]}/{digest[9:]}", b"kexx")
        found = client.governance.check_storage(sample=None, repair=True)
        assert found.counts == {"damaged": 1, "missing": 1}
        assert bytes(stored.get(f"quarantine/{digest[7:]}").bytes()) == b"kexx"
        client.transport.put_blob(b"kept")
        assert client.governance.check_storage(sample=None).sound


def test_the_doctor_asks_the_bucket(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_STORAGE_BLOBS", url)

    def told() -> dict[str, str]:
        answer = CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), "doctor", "--json"])
        (found,) = [item for item in json.loads(answer.stdout) if item["check"] == "blobs"]
        return dict(found)

    assert (told()["status"], "holds nothing yet" in told()["finding"]) == ("ok", True)
    open_blobs(url).put(b"abc")
    assert "holds nothing" not in told()["finding"]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert told()["status"] == "fault"
    assert "AWS_SECRET_ACCESS_KEY" in told()["remedy"]
