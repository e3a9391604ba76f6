"""Files are whole, whoever writes them at once; temporary folders go unless something lies in them."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rung.core.files import kept_if_used, write_first, write_whole

THREADS = 8


def test_the_bytes_are_there_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_whole(file, b"one")
    write_whole(file, b"two", durable=True)
    assert file.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [file]
    assert file.stat().st_mode & 0o777 == 0o600


def test_threads_write_the_same_file_at_once(tmp_path: Path) -> None:
    file, start = tmp_path / "file", threading.Barrier(THREADS)

    def written(number: int) -> None:
        start.wait()
        for _ in range(100):
            write_whole(file, bytes([number]) * 1000)
            assert len(set(file.read_bytes())) == 1

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(written, range(THREADS)))
    assert list(tmp_path.iterdir()) == [file]


def test_what_cannot_be_put_there_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_temporary_folder_goes_unless_something_lies_in_it() -> None:
    with kept_if_used("rung-test-") as empty:
        assert (empty.is_dir(), empty.stat().st_mode & 0o777) == (True, 0o700)
    assert not empty.exists()
    with pytest.raises(ValueError, match=r"^on the way$"), kept_if_used("rung-test-") as failed:
        raise ValueError("on the way")
    assert not failed.exists()
    with kept_if_used("rung-test-") as used:
        (used / "file").write_bytes(b"held")
    assert (used / "file").read_bytes() == b"held"
    shutil.rmtree(used)


def test_whoever_is_first_gives_the_bytes_to_all(tmp_path: Path) -> None:
    file, start = tmp_path / "key", threading.Barrier(THREADS)

    def read(number: int) -> bytes:
        start.wait()
        write_first(file, bytes([number]) * 32)
        return file.read_bytes()

    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(read, range(THREADS)))
    assert (len(set(found)), len(found[0])) == (1, 32)
    assert (list(tmp_path.iterdir()), file.stat().st_mode & 0o777) == ([file], 0o600)
    with pytest.raises(NotADirectoryError):
        write_first(file / "below", b"")
