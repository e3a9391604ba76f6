"""The writer of a SQLite file answers everybody: who gave up, who came too late, and who opens the file while another does."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from rung.core.errors import Unavailable
from rung.storage.connection import Connection
from rung.storage.database import Database, sqlite_url
from rung.storage.migrate import lay_out
from rung.storage.raw import Raw


class Slow:
    """A write that goes on until it is let go."""

    def __init__(self) -> None:
        self.begun, self.free = threading.Event(), threading.Event()

    def __call__(self, _: Connection) -> str:
        self.begun.set()
        assert self.free.wait(30)
        return "slow"


def test_a_write_that_was_given_up_ends_neither_the_writer_nor_its_neighbours(tmp_path: Path) -> None:
    database, slow = Database(sqlite_url(tmp_path / "a.db")), Slow()
    first = database.submit(slow)
    assert slow.begun.wait(30)
    given_up, neighbour = database.submit(lambda _: "never"), database.submit(lambda _: "neighbour")
    assert given_up.cancel(), "nobody has begun it"
    assert not first.cancel(), "it is under way"
    slow.free.set()
    assert (first.result(30), neighbour.result(30)) == ("slow", "neighbour")
    assert database.write(lambda _: "later") == "later"
    database.close()


def test_a_write_in_line_behind_the_end_is_refused_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    database, slow = Database(sqlite_url(tmp_path / "a.db")), Slow()
    first = database.submit(slow)
    assert slow.begun.wait(30)
    waiting = database._engine._writer._queue  # type: ignore[union-attr]
    closing = threading.Thread(target=database.close)
    closing.start()
    while waiting.empty():
        time.sleep(0.001)
    late = database.submit(lambda _: "late")
    slow.free.set()
    closing.join(30)
    assert first.result(30) == "slow"
    with pytest.raises(Unavailable) as refused:
        late.result(30)
    assert refused.value.code == "storage.closed"


def test_a_new_file_that_another_writes_to_meanwhile_is_waited_for(tmp_path: Path) -> None:
    lay_out(tmp_path / "a.db")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    late = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    late.start()
    database = Database(sqlite_url(tmp_path / "a.db"))
    assert database.read(lambda connection: Raw(connection).rows("PRAGMA journal_mode")[0][0]) == "wal"
    database.close()
    late.join()
    other.close()
