"""A spool that threads and processes share: each may come, go and remove what has arrived at any moment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from rung.client import spool
from rung.client.active import ActiveRun, open_runs
from rung.client.journal import POINTS, Writer
from rung.client.outbox import Outbox
from rung.client.replaying import Reader
from rung.client.spool import Note, RunFolder
from rung.core.files import write_whole
from rung.core.ids import new_id

BOUND = 1 << 30


class Deaf:
    """A platform that takes everything."""

    def call(self, request: Any) -> Any: ...
    def put_blob(self, source: Any) -> str:
        raise NotImplementedError

    def get_blob(self, digest: str) -> bytes:
        raise NotImplementedError

    def close(self) -> None: ...


def test_a_journal_that_arrives_while_it_is_counted_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path)
    while len(found := sorted(tmp_path.glob("*.journal"))) < 2:
        writer.points([("loss", 1.0)] * 1000, 0, 0)
    look = Path.stat

    def arriving(path: Path, **options: Any) -> os.stat_result:
        answer = look(path, **options)
        if path == found[0]:
            found[0].unlink()
        return answer

    monkeypatch.setattr(Path, "stat", arriving)
    assert writer.waiting() > 0
    monkeypatch.undo()
    assert 0 < writer.waiting() <= 1000 * POINTS.size + 100, "the first has arrived"
    writer.close()


def test_a_journal_is_given_up_although_a_starting_program_has_a_copy_of_it(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.point("loss", 1.0, 0, 0)
    copy = os.dup(writer._file)  # as between fork and exec
    reader = Reader(next(tmp_path.glob("*.journal")))
    assert not reader.abandoned()
    writer.close()
    assert reader.abandoned()
    reader.close()
    os.close(copy)


def test_a_folder_that_goes_while_it_is_locked_has_nothing_to_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    assert not RunFolder(tmp_path / new_id()).lock()


def test_a_folder_that_goes_while_it_is_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, times = RunFolder(tmp_path / new_id()), []

    def removed_once(path: Path, data: bytes) -> None:
        times.append(path)
        if len(times) == 1:
            shutil.rmtree(folder.path)
        write_whole(path, data)

    monkeypatch.setattr(spool, "write_whole", removed_once)
    folder.prepare(Note(run=folder.run, name="kept"))
    assert folder.note().name == "kept"


def test_a_blob_lies_in_a_folder_that_nobody_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends for a run removes its folder where no journal is, so there is one before the first blob."""
    outbox = Outbox(RunFolder(tmp_path / new_id()), Note(run=new_id()), None, bound_bytes=BOUND)
    keep = RunFolder.keep_blob

    def swept(folder: RunFolder, source: bytes | Path) -> str:
        digest = keep(folder, source)
        other = RunFolder(folder.path)
        assert other.lock()
        assert not other.remove_if_done()
        other.unlock()
        return digest

    monkeypatch.setattr(RunFolder, "keep_blob", swept)
    digest = outbox.blob(b"a lock")
    assert outbox.folder.blob(digest).read_bytes() == b"a lock"
    assert outbox.folder.note() != Note(run=outbox.folder.run)
    outbox.close()


def test_a_spool_that_cannot_be_used_for_a_moment_is_sent_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(RunFolder(tmp_path / new_id()), Note(run=new_id()), Deaf(), bound_bytes=BOUND)
    lock, times = RunFolder.lock, []

    def full_once(folder: RunFolder) -> bool:
        times.append(folder)
        if len(times) == 1:
            raise OSError(28, "No space left on device")
        return lock(folder)

    monkeypatch.setattr(RunFolder, "lock", full_once)
    outbox.point("loss", 1.0, 0, 0)
    outbox.flush(30)
    outbox.close()
    assert not outbox.folder.journals()


def test_runs_are_listed_while_others_open_some() -> None:
    held: list[ActiveRun] = []

    class Opening(ActiveRun):
        @property
        def closed(self) -> bool:
            held.append(ActiveRun(None, new_id(), object(), owned=False))  # type: ignore[arg-type]
            return False

        @closed.setter
        def closed(self, value: bool) -> None: ...

    mine = [Opening(None, new_id(), object(), owned=False) for _ in range(3)]  # type: ignore[arg-type]
    assert [run for run in open_runs() if run in mine] == mine
    assert len(held) >= len(mine)
