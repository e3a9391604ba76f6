"""The thread that sends lineage: nothing that goes wrong with a message stops the engine, and none is lost with a killed one."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from rung.client.client import Client
from rung.core.records import replaced
from rung.engine import lineage_mail
from rung.engine.lineage_mail import QUEUE, LineageMail
from rung.storage.queue import Job, QueueStore


def _mail(client: Client, monkeypatch: pytest.MonkeyPatch) -> LineageMail:
    platform: Any = client.transport.platform  # type: ignore[attr-defined]
    platform.settings = replaced(platform.settings, openlineage=replaced(platform.settings.openlineage, url="http://127.0.0.1:9"))
    monkeypatch.setattr(lineage_mail, "_LOOK_S", 0.0)
    monkeypatch.setattr(lineage_mail, "events_of", lambda *_: [{}])
    return LineageMail(platform, "me|boot|1|1")


def _queue(mail: LineageMail) -> Job:
    now = mail._platform.clock.now()
    return mail._platform.database.write(
        lambda c: QueueStore(c).add(mail._platform.settings.project, queue=QUEUE, kind="end", subject="run", now=now)
    )


def _sent(mail: LineageMail, within_s: float = 120.0) -> None:
    until = time.monotonic() + within_s
    while mail._platform.database.read(lambda c: QueueStore(c).has_queued(QUEUE) or bool(QueueStore(c).leased(QUEUE))):
        assert time.monotonic() < until, "it was not sent in time"
        mail.tick()
        time.sleep(0.01)


def test_a_message_that_fails_in_a_way_nobody_thought_of_stops_the_next_look_only(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    mail, failed = _mail(client, monkeypatch), list[str]()

    def post(*_: Any) -> None:
        if not failed:
            failed.append("once")
            raise ValueError("garbage")

    monkeypatch.setattr(lineage_mail, "post", post)
    _queue(mail)
    assert mail.tick()
    assert mail._out is not None
    assert isinstance(mail._out.exception(timeout=30), ValueError)
    with pytest.raises(ValueError, match="garbage"):
        mail.tick()
    _queue(mail)
    mail.tick()
    mail.close()
    left = mail._platform.database.read(lambda c: QueueStore(c).leased(QUEUE))
    assert len(left) == 1  # the one that failed, until its lease has ended


def test_a_message_that_a_killed_engine_had_taken_is_sent_by_the_next(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from rung.pipelines.owners import this_owner

    mail = _mail(client, monkeypatch)
    monkeypatch.setattr(lineage_mail, "post", lambda *_: None)
    _queue(mail)
    dead = "|".join([*this_owner().split("|")[:2], "1", "0"])
    lease = timedelta(hours=1)
    assert mail._platform.database.write(lambda c: QueueStore(c).claim(QUEUE, owner=dead, lease=lease)) is not None
    _sent(mail)
    mail.close()
