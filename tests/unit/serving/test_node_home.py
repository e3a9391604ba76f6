"""The home of a node, whose processes come and go at the same time."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rung.core.ids import new_id
from rung.governance.records import Project
from rung.server.following import Waiters
from rung.server.node.following import Telling
from rung.server.node.home import NodeHome, NodeNote, NodeStatus, WorkerState
from rung.server.node.shipping import Shipper

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> NodeHome:
    held = NodeHome(tmp_path / "node")
    held.make()
    return held


def test_a_process_that_got_the_number_of_a_dead_one_does_not_speak_for_it(home: NodeHome) -> None:
    home.tell_worker(WorkerState(failed={"mine": "why"}, started_at=AT))
    workers = home.path / "workers"
    shutil.copy(workers / str(os.getpid()), workers / "1")  # left by a dead one; the number is a living process's
    assert [one.failed for one in home.workers()] == [{"mine": "why"}]
    assert [path.name for path in workers.iterdir()] == [str(os.getpid())]


def test_processes_that_begin_at_once_are_one_node(home: NodeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    project, other = Project(id=new_id(), name="p", created_at=AT), NodeHome(home.path)
    real, asked = NodeHome.note, list[int]()

    def note(self: NodeHome) -> NodeNote | None:
        asked.append(1)
        found = real(self)
        if len(asked) == 1:
            first.append(home.claim(project))  # after the other one has looked, before it writes
        return found

    first: list[object] = []
    monkeypatch.setattr(NodeHome, "note", note)
    assert other.claim(project) == first[0] == real(home)
    assert not [path for path in home.path.iterdir() if path.name.startswith(".")]


def test_a_full_disk_ends_neither_who_follows_nor_who_ships(home: NodeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(NodeHome, "tell", full)
    telling, stop = Telling(home, NodeStatus(url="http://127.0.0.1:1")), threading.Event()
    transport: Any = None  # nothing is there to be shipped
    telling.tell(trouble="away")
    assert telling.status.trouble == "away"
    shipper, rounds = Shipper(home.path, "p", "n", transport, telling), list[int]()

    def after() -> None:
        rounds.append(1)
        if len(rounds) == 2:
            stop.set()
        full()

    shipper.after = after
    shipper.run(stop)
    assert len(rounds) == 2


def test_a_change_that_comes_before_anybody_looks_is_seen() -> None:
    table: Any = SimpleNamespace(marker=1)

    async def waited() -> None:
        waiting = asyncio.ensure_future(Waiters(table).changed(1, 600))
        asyncio.get_running_loop().call_soon(setattr, table, "marker", 2)  # by another thread, once it was compared and before the look
        await asyncio.wait_for(waiting, 120)

    asyncio.run(waited())
