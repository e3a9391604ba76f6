"""What every blob backend must hold."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.core.digests import digest_of
from rung.core.errors import Invalid, NotFound, Unavailable
from rung.storage.blobs import BACKENDS, BlobStore, open_blobs
from tests.servers import S3Server


@pytest.fixture(params=BACKENDS.names())
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Addresses of fresh, empty stores of each backend in turn."""
    if request.param == "file":
        return lambda: f"file://{tmp_path_factory.mktemp('blobs')}"
    server: S3Server = request.getfixturevalue("s3")
    return lambda: server.url(server.bucket, uuid4().hex, tmp_path_factory.mktemp("copies"))


@pytest.fixture
def blobs(new_url: Callable[[], str]) -> BlobStore:
    """A fresh, empty store of each backend in turn."""
    return open_blobs(new_url())


def test_bytes_come_back(blobs: BlobStore) -> None:
    assert blobs.get(blobs.put(b"abc")) == b"abc"
    assert blobs.get(blobs.put(b"")) == b""


def test_a_file_and_its_bytes_are_one_blob(blobs: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc" * 1000)
    assert blobs.put(tmp_path / "f") == blobs.put(b"abc" * 1000)
    assert list(blobs.list()) == [digest_of(b"abc" * 1000)]


def test_what_is_not_there_is_not_found(blobs: BlobStore) -> None:
    assert not blobs.exists(digest_of(b"x"))
    with pytest.raises(NotFound):
        blobs.get(digest_of(b"x"))


def test_deleting_twice_is_harmless(blobs: BlobStore) -> None:
    digest = blobs.put(b"abc")
    blobs.delete(digest)
    blobs.delete(digest)
    assert not blobs.exists(digest)


@pytest.mark.parametrize("digest", ["", "abc", "md5:" + "0" * 64, "blake3:../../etc/passwd", "blake3:" + "A" * 64])
def test_what_is_not_a_digest_is_refused(blobs: BlobStore, digest: str) -> None:
    with pytest.raises(Invalid):
        blobs.get(digest)


@pytest.mark.parametrize("size", [10, 1 << 20])
def test_damage_on_disk_is_noticed(tmp_path: Path, size: int) -> None:
    blobs = open_blobs(f"file://{tmp_path / 'blobs'}")
    data = bytes(range(256)) * (size // 256 + 1)
    digest = blobs.put(data)
    (path,) = [p for p in (tmp_path / "blobs").rglob("*") if p.is_file() and not p.name.startswith("index") and data in p.read_bytes()]
    path.chmod(0o600)
    held = path.read_bytes()
    path.write_bytes(held[:-1] + b"!")
    with pytest.raises(Unavailable, match="damaged"):
        blobs.get(digest)


def test_a_small_blob_has_a_file_for_who_needs_one_and_a_damaged_copy_is_made_anew(blobs: BlobStore) -> None:
    digest = blobs.put(b"abc")
    copy = Path(blobs.url(digest))
    assert copy.read_bytes() == b"abc"
    copy.chmod(0o600)
    copy.write_bytes(b"abd")
    assert Path(blobs.url(digest)).read_bytes() == b"abc"


def test_a_moved_file_is_gone_and_kept(blobs: BlobStore, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * (1 << 20))
    digest = blobs.put(large, move=True)
    assert not large.exists()
    assert blobs.get(digest) == b"x" * (1 << 20)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["put", "delete", "reopen", "compact"]), st.integers(0, 9)), max_size=40))
def test_any_order_of_puts_deletes_and_reopenings_is_like_a_dict(new_url: Callable[[], str], steps: list[tuple[str, int]]) -> None:
    url = new_url()
    blobs, held = open_blobs(url), {}
    for act, n in steps:
        data = bytes([n]) * (n * 20_000)
        if act == "put":
            held[blobs.put(data)] = data
        elif act == "delete":
            blobs.delete(digest_of(data))
            held.pop(digest_of(data), None)
        elif act == "reopen":
            blobs.close()
            blobs = open_blobs(url)
        else:
            blobs.compact()
    assert {digest: blobs.get(digest) for digest in blobs.list()} == held
    blobs.close()


def test_many_writers_share_their_syncs_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = open_blobs(f"file://{tmp_path / 'blobs'}")
    syncs = []
    real = os.fsync

    def slow(handle: int) -> None:
        syncs.append(handle)
        time.sleep(0.002)  # as a disk would
        real(handle)

    monkeypatch.setattr(os, "fsync", slow)
    with ThreadPoolExecutor(16) as pool:
        digests = list(pool.map(lambda n: blobs.put(f"blob {n}".encode()), range(400)))
    assert len(syncs) < 350
    assert all(blobs.get(digest) == f"blob {n}".encode() for n, digest in enumerate(digests))


def test_a_torn_tail_and_a_lost_index_cost_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'blobs'}"
    blobs = open_blobs(url)
    digests = [blobs.put(f"blob {n}".encode()) for n in range(20)]
    blobs.close()
    (pack,) = (tmp_path / "blobs" / "packs").glob("*.pack")
    with pack.open("ab") as file:
        file.write(b"RPK1\x01\xff\xff")
    for index in (tmp_path / "blobs" / "packs").glob("index.db*"):
        index.write_bytes(b"nonsense")
    blobs = open_blobs(url)
    assert sorted(blobs.list()) == sorted(digests)
    late = blobs.put(b"after the crash")
    blobs.close()
    blobs = open_blobs(url)
    assert blobs.get(late) == b"after the crash"
    assert all(blobs.exists(digest) for digest in digests)
    blobs.close()


def test_two_stores_on_one_folder_see_each_others_blobs(tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'blobs'}"
    one, two = open_blobs(url), open_blobs(url)
    first, second = one.put(b"one"), two.put(b"two")
    assert (one.get(second), two.get(first)) == (b"two", b"one")
    assert len(list((tmp_path / "blobs" / "packs").glob("*.pack"))) == 2


def test_compacting_gives_the_space_of_deleted_blobs_back(tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'blobs'}"
    blobs = open_blobs(url)
    digests = [blobs.put(bytes([n]) * 50_000) for n in range(20)]
    for digest in digests[1:]:
        blobs.delete(digest)
    blobs.close()
    blobs = open_blobs(url)
    kept = blobs.put(b"in another pack")
    assert blobs.get(digests[0]) == bytes(50_000)
    blobs.close()
    blobs = open_blobs(url)
    assert blobs.compact() > 900_000
    assert sorted(blobs.list()) == sorted([digests[0], kept])
    assert blobs.get(digests[0]) == bytes(50_000)


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    blobs = open_blobs(f"file://{tmp_path / 'blobs'}")
    with pytest.raises(Unavailable):
        blobs.put(tmp_path / "missing")
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []
    assert list(blobs.list()) == []


@pytest.mark.parametrize("size", [0, 1, 128 << 10, (128 << 10) + 1, (8 << 20) + 5])
def test_bytes_of_any_size_come_back_by_every_way_in_and_out(blobs: BlobStore, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    digest = blobs.put(tmp_path / "f")
    assert digest == digest_of(data) == blobs.put(data)
    assert (tmp_path / "f").read_bytes() == data
    assert blobs.get(digest) == data
    assert Path(blobs.url(digest)).read_bytes() == data
    assert list(blobs.list()) == [digest]


def test_a_blob_knows_its_size_and_age(blobs: Any) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # whole seconds in a bucket
    for data in (b"abc", b"x" * (1 << 20)):
        digest = blobs.put(data)
        assert blobs.size(digest) == len(data)
        assert before < blobs.stored_at(digest) < datetime.now(UTC) + timedelta(seconds=2)
    for ask in (blobs.size, blobs.stored_at, blobs.url):
        with pytest.raises(NotFound):
            ask(digest_of(b"never put"))
    for ask in (blobs.size, blobs.stored_at, blobs.url, blobs.exists, blobs.delete):
        with pytest.raises(Invalid):
            ask("blake3:../../etc/passwd")


def test_the_inventory_tells_all_and_discarding_asks_for_the_age(blobs: Any) -> None:
    small, large = blobs.put(b"abc"), blobs.put(b"x" * (1 << 20))
    kept = {item.digest: item for item in blobs.inventory()}
    assert {digest: item.size for digest, item in kept.items()} == {small: 3, large: 1 << 20}
    assert all(abs(item.at - blobs.stored_at(digest)) < timedelta(seconds=1) for digest, item in kept.items())
    for digest, size in ((small, 3), (large, 1 << 20)):
        assert blobs.discard(digest, datetime.now(UTC) - timedelta(hours=1)) is None
        assert blobs.exists(digest)
        assert blobs.discard(digest, datetime.now(UTC) + timedelta(hours=1)) == size
        assert not blobs.exists(digest)
        assert blobs.discard(digest, datetime.now(UTC) + timedelta(hours=1)) is None
    assert list(blobs.inventory()) == []


def test_damaged_bytes_set_aside_can_be_put_again(blobs: Any) -> None:
    digest = blobs.put(b"x" * (1 << 20))
    if hasattr(blobs, "root"):
        path = Path(blobs.url(digest))
        path.chmod(0o600)
        path.write_bytes(b"y" * (1 << 20))
    else:
        blobs._store.put(f"{digest[7:9]}/{digest[9:]}", b"y" * (1 << 20))
    with pytest.raises(Unavailable, match="damaged"):
        blobs.get(digest)
    assert not blobs.set_aside(digest)
    assert not blobs.exists(digest)
    assert list(blobs.list()) == []
    assert blobs.get(blobs.put(b"x" * (1 << 20))) == b"x" * (1 << 20)
    assert list(blobs.examine(thorough=True, repair=True)) == []
