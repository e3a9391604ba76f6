"""Runs that several ask for, take up, resume and cancel at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rung.app.local import LocalTransport, local_transport
from rung.core.digests import digest_of
from rung.core.errors import Conflict
from rung.core.settings import Settings
from rung.pipelines import records as r
from rung.pipelines import triggering as t
from rung.pipelines.checkpoint_operations import save_checkpoint
from rung.pipelines.checkpointing import LatestCheckpoint, SaveCheckpoint
from rung.pipelines.starting import QUEUE
from rung.pipelines.store import PipelineStore
from rung.pipelines.trigger_operations import update_trigger
from rung.storage.connection import Connection
from rung.storage.queue import Job, QueueStore
from rung.storage.scope import Scope

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LEASE = timedelta(minutes=5)
MANY = 12  # more than a transaction that lost a race tries again


@pytest.fixture
def platform(any_settings: Settings) -> Iterator[LocalTransport]:
    opened = local_transport(any_settings)
    info = r.PipelineInfo(name="train", target="pipelines:train", doc="", params=(), steps=(), code=digest_of(b"code"), seen_at=NOW)
    opened.call(r.RegisterPipelines(pipelines=(info,)))
    yield opened
    opened.close()


def claimed(connection: Connection, run: str, owner: str = "a worker") -> Job:
    queue = QueueStore(connection)
    job = queue.of_subject(run)
    assert job is not None
    found = queue.claim(QUEUE, owner=owner, lease=LEASE, job=job.id)
    assert found is not None
    return found


def scope_on(platform: LocalTransport, connection: Connection, project: str) -> Scope:
    held = platform.platform
    return Scope(
        project=project, principal="0" * 32, principal_kind="user", now=NOW, settings=held.settings, database=held.database,
        blobs=held.blobs, open_connection=connection,
    )  # fmt: skip


def while_written(platform: LocalTransport, change: Callable[[Connection], Any], ask: Callable[[], Any]) -> Future[Any]:
    """What is answered to who asks while a change is made and not yet kept."""
    with ThreadPoolExecutor(1) as pool:

        def work(connection: Connection) -> Future[Any]:
            change(connection)
            asked = pool.submit(ask)
            threading.Event().wait(0.2)  # time to come as far as the change lets it
            return asked

        return platform.platform.database.write(work)


def test_runs_get_numbers_of_their_own(platform: LocalTransport) -> None:
    start = threading.Barrier(MANY, timeout=120)

    def ask(_: int) -> int:
        start.wait()
        return platform.call(r.RunPipeline(pipeline="train")).number

    with ThreadPoolExecutor(MANY) as pool:
        assert sorted(pool.map(ask, range(MANY))) == list(range(1, MANY + 1))


def test_a_run_that_is_taken_up_as_it_is_cancelled_is_cancelled_by_who_took_it(platform: LocalTransport) -> None:
    run, held = platform.call(r.RunPipeline(pipeline="train")), []
    told = while_written(
        platform, lambda connection: held.append(claimed(connection, run.id)), lambda: platform.call(r.CancelPipelineRun(id=run.id))
    ).result()
    assert (told.status, told.cancel_requested) == ("queued", True), "its worker ends it"
    assert platform.platform.database.write(lambda connection: QueueStore(connection).heartbeat(held[0], lease=LEASE)) == "cancel"


def test_a_run_that_is_given_back_as_it_is_cancelled_does_not_stay_under_way(platform: LocalTransport) -> None:
    run = platform.call(r.RunPipeline(pipeline="train"))
    job = platform.platform.database.write(lambda connection: claimed(connection, run.id))
    told = while_written(
        platform,
        lambda connection: QueueStore(connection).give_back(job, now=NOW, died=False),
        lambda: platform.call(r.CancelPipelineRun(id=run.id)),
    ).result()
    assert told.status == "cancelled"
    assert platform.platform.database.read(lambda connection: QueueStore(connection).get(job.id)).state == "cancelled"


def test_a_run_that_ends_as_it_is_cancelled_keeps_its_end(platform: LocalTransport) -> None:
    run = platform.call(r.RunPipeline(pipeline="train"))
    job = platform.platform.database.write(lambda connection: claimed(connection, run.id))

    def end(connection: Connection) -> None:
        assert QueueStore(connection).finish(job, now=NOW)
        PipelineStore(connection, job.project).update_run(run.id, status="succeeded", ended_at=NOW)

    told = while_written(platform, end, lambda: platform.call(r.CancelPipelineRun(id=run.id)))
    with pytest.raises(Conflict, match="succeeded already"):
        told.result()
    assert platform.call(r.GetPipelineRun(id=run.id)).run.status == "succeeded"


def test_of_two_that_resume_a_run_one_does(platform: LocalTransport) -> None:
    run = platform.call(r.RunPipeline(pipeline="train"))
    platform.call(r.CancelPipelineRun(id=run.id))
    held: list[Job] = []

    def resume(connection: Connection) -> None:
        job = QueueStore(connection).of_subject(run.id)
        assert job is not None
        assert QueueStore(connection).requeue(job.id, attempts=0, seen=job)
        held.append(claimed(connection, run.id, "the first"))

    told = while_written(platform, resume, lambda: platform.call(r.ResumePipelineRun(id=run.id, held="the second")))
    with pytest.raises(Conflict) as refused:
        told.result()
    assert refused.value.code == "pipelines.being_executed"
    assert platform.platform.database.write(lambda connection: QueueStore(connection).heartbeat(held[0], lease=LEASE)) == "held"


def test_an_attempt_that_was_given_up_saves_no_checkpoint_over_a_later_one(platform: LocalTransport) -> None:
    run = platform.call(r.RunPipeline(pipeline="train"))
    project = platform.caller().project
    state = r.Artifact(name="state", kind="json", digest=digest_of(b"1"), size_bytes=1)

    def saving(attempt: int) -> SaveCheckpoint:
        return SaveCheckpoint(pipeline_run=run.id, step="fit", seed=1, attempt=attempt, state=state)

    def later(connection: Connection) -> None:
        save_checkpoint(saving(2), scope_on(platform, connection, project))

    platform.call(saving(1))
    told = while_written(platform, later, lambda: platform.call(saving(1)))
    with pytest.raises(Conflict, match="attempt 2 has saved one"):
        told.result()
    found = platform.call(LatestCheckpoint(pipeline_run=run.id, step="fit", seed=1)).checkpoint
    assert found is not None
    assert (found.attempt, found.number) == (2, 2)


def test_two_that_edit_a_trigger_both_do(platform: LocalTransport) -> None:
    project = platform.caller().project
    platform.call(t.AddTrigger(name="nightly", pipeline="train", kind="manual"))

    def prioritised(connection: Connection) -> None:
        update_trigger(t.UpdateTrigger(name="nightly", priority=7), scope_on(platform, connection, project))

    while_written(platform, prioritised, lambda: platform.call(t.UpdateTrigger(name="nightly", executor="pool"))).result()
    held = platform.call(t.GetTrigger(name="nightly"))
    assert (held.priority, held.executor) == (7, "pool")
