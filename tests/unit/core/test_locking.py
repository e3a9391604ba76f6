"""One process holds a lock, and gives it back."""

from __future__ import annotations

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
