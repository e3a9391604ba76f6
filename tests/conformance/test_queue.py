"""Jobs, singleton leases and slots mean the same on every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from rung.core.clock import SystemClock
from rung.core.settings import Settings
from rung.storage.database import Database, sqlite_url
from rung.storage.migrate import migrate
from rung.storage.queue import QueueStore
from rung.storage.slots import SlotStore

T = TypeVar("T")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
PROJECT = "0" * 32
LEASE = timedelta(seconds=30)


@pytest.fixture
def asked(any_settings: Settings) -> Iterator[Callable[[Callable[[QueueStore], T]], T]]:
    any_settings.home_path.mkdir(parents=True)
    database = Database(any_settings.storage.database or sqlite_url(any_settings.home_path / "rung.db"))
    migrate(database, SystemClock().now())
    yield lambda work: database.write(lambda connection: work(QueueStore(connection)))
    database.close()


def test_a_claim_beats_is_asked_to_cancel_and_is_lost(asked: Callable[..., object]) -> None:
    def steps(queue: QueueStore) -> None:
        queue.add(PROJECT, queue="runs", kind="run", subject="a", now=NOW)
        assert queue.has_queued("runs")
        job = queue.claim("runs", owner="one", lease=LEASE)
        assert job is not None
        assert not queue.has_queued("runs")
        assert [held.id for held in queue.leased("runs")] == [job.id]
        assert queue.heartbeat(job, lease=LEASE) == "held"
        assert queue.get(job.id).beats == job.beats + 1
        assert queue.give_back(job, now=NOW) is None, "a holder that has beaten since keeps it"
        queue.ask_to_cancel("a", now=NOW)
        assert queue.heartbeat(job, lease=LEASE) == "cancel"
        assert queue.give_back(queue.get(job.id), now=NOW) == "queued"
        assert queue.heartbeat(job, lease=LEASE) == "lost"
        queue.ask_to_cancel("a", now=NOW)
        assert queue.get(job.id).state == "cancelled"
        queue.requeue(job.id, attempts=0, payload={"again": True})
        assert (queue.get(job.id).state, queue.get(job.id).payload) == ("queued", {"again": True})

    asked(steps)


def test_a_singleton_lease_has_one_owner_until_it_is_released(asked: Callable[..., object]) -> None:
    def steps(queue: QueueStore) -> None:
        assert queue.holder("clock") is None
        assert queue.hold("clock", owner="one", lease=LEASE) == 1
        assert queue.hold("clock", owner="one", lease=LEASE) == 1
        assert queue.hold("clock", owner="two", lease=LEASE) is None
        queue.release("clock", owner="two")
        assert queue.holder("clock") == "one"
        queue.release("clock", owner="one")
        assert queue.hold("clock", owner="two", lease=LEASE) == 2

    asked(steps)


def test_a_slot_is_held_while_the_claim_stands(asked: Callable[..., object]) -> None:
    def steps(queue: QueueStore) -> None:
        slots = SlotStore(queue._connection, PROJECT)
        queue.add(PROJECT, queue="runs", kind="run", subject="a", now=NOW)
        job = queue.claim("runs", owner="one", lease=LEASE)
        assert job is not None
        assert slots.take("gpu", limit=1, job=job.id, fence=job.fence, holder="a")
        assert slots.take("gpu", limit=1, job=job.id, fence=job.fence, holder="a")
        assert not slots.take("gpu", limit=1, job=job.id, fence=job.fence, holder="b")
        assert slots.holders("gpu") == ["a"]
        queue.finish(job, now=NOW)
        assert slots.holders("gpu") == []
        assert slots.take("gpu", limit=1, job=job.id, fence=job.fence, holder="b")
        slots.give_up("gpu", "b")
        assert slots.holders("gpu") == []

    asked(steps)
