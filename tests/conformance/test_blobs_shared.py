"""A folder of blobs while others put, collect and look at it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from rung.core.errors import NotFound
from rung.storage.blobs import local
from rung.storage.blobs.local import LocalBlobs
from rung.storage.blobs.s3 import _Copies

LARGE = 200 << 10


def test_a_blob_that_is_collected_while_it_is_read_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = LocalBlobs(f"file://{tmp_path}")
    digest, read = blobs.put(b"a" * LARGE), Path.read_bytes

    def collected(path: Path) -> bytes:
        path.unlink()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", collected)
    with pytest.raises(NotFound):
        blobs.get(digest)
    blobs.close()


def test_a_blob_that_is_put_while_the_folder_is_looked_at_is_no_stray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs, folders = LocalBlobs(f"file://{tmp_path}"), LocalBlobs._folders
    put = iter(range(100))

    def growing(self: LocalBlobs) -> tuple[Path, ...]:
        blobs.put(bytes([next(put)]) * LARGE)
        return folders(self)

    monkeypatch.setattr(LocalBlobs, "_folders", growing)
    assert list(blobs.examine(thorough=False, repair=False)) == []
    blobs.close()


def test_a_copy_that_is_asked_for_while_old_ones_are_cleared_away_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs, size_of_old = LocalBlobs(f"file://{tmp_path}"), local._size_of_old
    digest = blobs.put(b"small")
    os.utime(blobs.url(digest), (0, 0))
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(blobs.url(digest)))

    def asked_meanwhile(path: Path) -> int | None:
        size = size_of_old(path)
        asking.start()
        asking.join(0.3)  # it is answered at once, or when the old one has gone
        return size

    monkeypatch.setattr(local, "_size_of_old", asked_meanwhile)
    blobs.compact()
    asking.join(30)
    assert Path(answers[0]).read_bytes() == b"small"
    blobs.close()


def test_a_file_that_is_moved_in_is_never_an_old_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs, rename = LocalBlobs(f"file://{tmp_path / 'blobs'}"), Path.rename
    source = tmp_path / "model"
    source.write_bytes(b"a" * LARGE)
    os.utime(source, (0, 0))

    def cleared(path: Path, target: Path) -> Path:
        moved = rename(path, target)
        if path == source:
            assert list(blobs.examine(thorough=False, repair=True)) == []
        return moved

    monkeypatch.setattr(Path, "rename", cleared)
    assert blobs.get(blobs.put(source, move=True)) == b"a" * LARGE
    blobs.close()


def test_a_bucket_s_copy_that_is_used_while_room_is_made_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies, old = _Copies(tmp_path, 0), time.time() - 100_000
    for name, age in (("first", 2), ("second", 1)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (old - age, old - age))
    unlink = Path.unlink

    def used_meanwhile(path: Path, missing_ok: bool = False) -> None:
        os.utime(tmp_path / "second")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", used_meanwhile)
    assert copies.shrink(0) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["second"]
