"""One process holds a lock, and gives it back."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from rung.core.locking import FileLock


def test_one_holds_it_until_it_is_given_back(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.take()
    assert one.take()
    assert not other.take()
    one.give()
    one.give()
    assert not one.held
    assert other.take()
    other.give()


def test_a_lock_in_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "nowhere" / "lock").take()


def test_it_is_given_back_although_a_starting_program_has_a_copy(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.take()
    copy = os.dup(one._file)  # as between fork and exec
    one.give()
    assert other.take()
    other.give()
    os.close(copy)


def test_a_child_that_leaves_it_does_not_give_it_back(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.take()
    child = os.fork()
    if child == 0:
        one.leave()
        os._exit(one.held)
    assert os.waitpid(child, 0)[1] == 0
    assert not other.take()
    one.give()
    assert other.take()
    other.give()


def test_a_file_that_was_taken_away_meanwhile_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last holder removed it between the opening and the taking: a third may hold the one in its place."""
    flock, one = fcntl.flock, FileLock(tmp_path / "lock")

    def removed(file: int, how: int) -> None:
        (tmp_path / "lock").unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", removed)
    assert not one.take()
    monkeypatch.undo()
    assert one.take()
    one.give()
