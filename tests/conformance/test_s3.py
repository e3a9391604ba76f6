"""What only a bucket can do wrong: addresses, credentials, networks, damage, copies that fill a disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from rung.app.local import local_transport
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
