"""What every blob backend must hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.core.digests import digest_of
from rung.core.errors import Invalid, NotFound, Unavailable
from rung.storage.blobs import BACKENDS, BlobStore, open_blobs


@pytest.fixture(params=[name for name in BACKENDS.names() if name == "file"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return open_blobs(f"{request.param}://{tmp_path / 'blobs'}")


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


def test_damage_on_disk_is_noticed(tmp_path: Path) -> None:
    blobs = open_blobs(f"file://{tmp_path / 'blobs'}")
    digest = blobs.put(b"abc")
    path = Path(blobs.url(digest))
    path.chmod(0o600)
    path.write_bytes(b"abd")
    with pytest.raises(Unavailable, match="damaged"):
        blobs.get(digest)


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    blobs = open_blobs(f"file://{tmp_path / 'blobs'}")
    with pytest.raises(Unavailable):
        blobs.put(tmp_path / "missing")
    assert list((tmp_path / "blobs" / "incoming").iterdir()) == []
    assert list(blobs.list()) == []
