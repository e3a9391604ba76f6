"""The manifest of what is installed is remembered in a folder, whoever asks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rung.pipelines.installed import manifest

THREADS = 8


def test_threads_that_ask_at_once_get_the_same(tmp_path: Path) -> None:
    expected = manifest()
    for attempt in range(50):  # two that wrote one file under one name failed now and then
        memo, start = tmp_path / str(attempt), threading.Barrier(THREADS)

        def asked(_: int, memo: Path = memo, start: threading.Barrier = start) -> bytes:
            start.wait()
            return manifest(memo)

        with ThreadPoolExecutor(THREADS) as threads:
            assert set(threads.map(asked, range(THREADS))) == {expected}
        assert [file.read_bytes() for file in memo.iterdir()] == [expected]


def test_a_folder_that_cannot_be_written_to_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert manifest(tmp_path / "file" / "memo") == manifest()
