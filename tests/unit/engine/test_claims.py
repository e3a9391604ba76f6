"""Claims under bad luck: a database that is away for a moment, an engine that stops, code that takes long to restore."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.errors import Unavailable
from rung.core.settings import load_settings
from rung.engine import loop
from rung.engine.driving import Driver, LeaseLost
from rung.engine.driving.recording import Recorder, Round
from rung.engine.executors.family import Outcome, Task
from rung.engine.host import ServiceTransport
from rung.engine.loop import Engine
from rung.pipelines.authoring import pipeline, step
from rung.pipelines.operations import QUEUE, log_path
from rung.pipelines.records import GetPipelineRun, PipelineRun, RunPipeline
from rung.pipelines.reproducing import Reproduce
from rung.storage.queue import Job, QueueStore


@step(cache=False)
def first() -> int:
    print("first was here")
    return 1


@step(cache=False)
def second() -> int:
    return 2


@pipeline
def alone() -> object:
    return first()


@pipeline
def both() -> object:
    return [first(), second()]


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Client]:
    """A client of a platform whose engines run one step at a time."""
    transport = local_transport(load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / "home"), "engine.workers": "1"}))
    yield Client(transport)
    transport.close()


def _engine(client: Client) -> Engine:
    return Engine(client.transport.platform)  # type: ignore[attr-defined]


def _queued(client: Client, engine: Engine, what: Any = alone) -> PipelineRun:
    engine.offer(what)
    run: PipelineRun = client.transport.call(RunPipeline(pipeline=what.name))
    return run


def _job(engine: Engine, run: PipelineRun) -> Job:
    found = engine.platform.database.read(lambda c: QueueStore(c).of_subject(run.id))
    assert found is not None
    return found


def _status(client: Client, run: PipelineRun) -> str:
    return str(client.transport.call(GetPipelineRun(id=run.id)).run.status)


def _until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def _faulty_once(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception], *, when: Callable[[Round], bool]) -> list[Round]:
    """Let the first round that is ``when`` fail to be written."""
    write, failed = Recorder.write, list[Round]()

    def faulty(self: Recorder, scope_of: Any, what: Round) -> None:
        if not failed and when(what):
            failed.append(what)
            raise error()
        write(self, scope_of, what)

    monkeypatch.setattr(Recorder, "write", faulty)
    return failed


def test_a_run_whose_driver_fails_after_its_lease_was_renewed_is_driven_again(narrow: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(narrow)
    run = _queued(narrow, engine)

    def fault() -> Exception:
        job = _job(engine, run)
        engine.platform.database.write(lambda c: QueueStore(c).heartbeat(job, lease=loop._SINGLETON))
        return RuntimeError("bad luck")

    failed = _faulty_once(monkeypatch, fault, when=lambda what: bool(what.begun))
    engine.run_until_idle(timeout_s=120)
    engine.stop()
    # that it ends shows too that what the attempt was granted has been given back: there is room for one step only
    assert (len(failed), _status(narrow, run)) == (1, "succeeded")


def test_a_run_outlives_a_database_that_is_locked_for_a_while(narrow: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(narrow)
    run = _queued(narrow, engine)
    _faulty_once(monkeypatch, lambda: Unavailable("It is locked.", code="storage.locked"), when=lambda what: bool(what.ended))
    engine.run_until_idle(timeout_s=120)
    engine.stop()
    assert _status(narrow, run) == "succeeded"


def test_a_run_that_cannot_be_given_back_either_is_given_back_later(narrow: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(narrow)
    run = _queued(narrow, engine)
    _faulty_once(monkeypatch, lambda: RuntimeError("bad luck"), when=lambda what: bool(what.begun))
    give_back, refused = Engine._give_back, list[Job]()

    def unavailable_once(self: Engine, job: Job, **options: Any) -> bool:
        if not refused:
            refused.append(job)
            raise Unavailable("It does not answer.", code="storage.unavailable")
        return give_back(self, job, **options)

    monkeypatch.setattr(Engine, "_give_back", unavailable_once)
    engine.run_until_idle(timeout_s=120)
    _until(lambda: engine.tick() or _status(narrow, run) == "succeeded")
    engine.run_until_idle(timeout_s=120)
    engine.stop()
    assert (len(refused), _status(narrow, run)) == (1, "succeeded")


class Hanging:
    """An executor whose attempts at ``first`` never end by themselves."""

    can_stop = True
    local = True
    slots = 4

    def __init__(self) -> None:
        self.tasks: dict[str, tuple[str, Future[Outcome]]] = {}
        self.cancelled: list[str] = []

    def submit(self, task: Task) -> Future[Outcome]:
        done: Future[Outcome] = Future()
        self.tasks[task.id] = (task.step, done)
        if task.step != "first" or self.cancelled:
            done.set_result(Outcome("failed", error="no"))
        return done

    def cancel(self, task: str) -> None:
        self.cancelled.append(self.tasks[task][0])
        raise RuntimeError("the cluster has gone")

    def close(self) -> None:
        """Nothing."""


def test_what_runs_is_ended_when_its_driver_fails(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, hanging = _engine(client), Hanging()
    engine._executors["inline"] = hanging
    run = _queued(client, engine, both)
    _faulty_once(monkeypatch, lambda: RuntimeError("bad luck"), when=lambda what: bool(what.ended))
    engine.run_until_idle(timeout_s=120)
    engine.stop()
    assert (hanging.cancelled, _status(client, run)) == (["first"], "failed")


def test_a_lease_is_renewed_while_code_is_restored(narrow: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(narrow)
    run = _queued(narrow, engine)
    beats: list[int] = []

    def slow(_: Any, job: Job) -> None:
        until = time.monotonic() + 120
        while not (beat := _job(engine, run).beats) and time.monotonic() < until:
            time.sleep(0.05)
        beats.append(beat)

    monkeypatch.setattr(loop, "_restored", slow)
    engine.run_until_idle(timeout_s=300)
    engine.stop()
    assert (beats[0] > 0, _status(narrow, run)) == (True, "succeeded")


def test_leases_are_renewed_after_a_renewal_that_failed_in_a_way_nobody_thought_of(narrow: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _engine(narrow)
    run = _queued(narrow, engine)
    heartbeat, faults = QueueStore.heartbeat, list[str]()

    def faulty(self: QueueStore, job: Job, **options: Any) -> Any:
        if not faults:
            faults.append(job.id)
            raise TimeoutError("the pool of connections is empty")
        return heartbeat(self, job, **options)

    monkeypatch.setattr(QueueStore, "heartbeat", faulty)
    monkeypatch.setattr(loop, "_restored", lambda *_: _until(lambda: _job(engine, run).beats > 0, 120))
    engine.run_until_idle(timeout_s=300)
    engine.stop()
    assert (len(faults), _status(narrow, run)) == (1, "succeeded")


def test_an_engine_that_stops_gives_back_what_it_has_claimed_and_not_begun(client: Client) -> None:
    engine, go = _engine(client), threading.Event()
    run = _queued(client, engine)
    for _ in range(engine._pool._max_workers):
        engine._pool.submit(go.wait, 60)
    assert engine._claim()
    assert _job(engine, run).state == "leased"
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    _until(lambda: _job(engine, run).state == "queued")
    go.set()
    stopping.join()
    assert _job(engine, run).attempts == 0


def test_an_engine_that_has_stopped_gives_back_what_it_claims_then(client: Client) -> None:
    engine = _engine(client)
    run = _queued(client, engine)
    engine._pool.shutdown()
    assert engine._claim()
    assert (_job(engine, run).state, _job(engine, run).attempts) == ("queued", 0)
    engine.stop()


def test_a_run_that_is_begun_as_its_engine_stops_is_given_back(client: Client) -> None:
    engine = _engine(client)
    run = _queued(client, engine)
    job = engine.platform.database.write(lambda c: QueueStore(c).claim(QUEUE, owner=engine.owner, lease=loop._SINGLETON))
    assert job is not None
    engine._stop.set()
    engine._background(job)
    assert (_job(engine, run).state, _status(client, run)) == ("queued", "queued")
    engine.stop()


def test_a_claim_that_is_lost_clears_away_only_what_is_its_own(client: Client) -> None:
    engine = _engine(client)
    run = _queued(client, engine)
    jobs = []
    for _ in range(3):
        job = engine.platform.database.write(lambda c: QueueStore(c).claim(QUEUE, owner=engine.owner, lease=loop._SINGLETON))
        assert job is not None
        jobs.append(job)
        assert engine._give_back(job, died=False)
    drivers = [Driver(engine.platform, job, engine._executor, engine._admission, engine.owner) for job in jobs]
    for driver in (drivers[0], drivers[2]):
        driver._scratch.mkdir(parents=True)
    with pytest.raises(LeaseLost):
        drivers[1].execute()
    assert [driver._scratch.is_dir() for driver in drivers] == [False, False, True]
    assert _status(client, run) == "queued"
    engine.stop()


def test_a_reproduction_that_lost_its_claim_discards_only_its_own_folder(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "rung.toml").write_text("")
    (folder / "pipelines.py").write_text(
        "from rung import pipeline, step\n@step\ndef a() -> int:\n    return 1\n@pipeline\ndef p():\n    return a()\n"
    )
    with Client(local_transport(load_settings(folder, environ={}))) as client:
        run = client.pipelines.run("p")
        client.transport.call(Reproduce(id=run.id))
        engine, held = _engine(client), []
        for _ in range(2):
            job = engine.platform.database.write(lambda c: QueueStore(c).claim(QUEUE, owner="x", lease=loop._SINGLETON))
            assert job is not None
            held.append(loop._restored(ServiceTransport(engine.platform, job.project), job))
            engine._give_back(job, died=False)
        older, newer = held
        assert older is not None
        assert newer is not None
        older.discard()
        assert (newer.folder / "pipelines.py").is_file()
        newer.discard()
        engine.stop()


def test_a_log_is_where_readers_look_until_it_is_told_to_be_elsewhere(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    save, there = Recorder._save_ended, list[bool]()

    def looking(self: Recorder, scope: Any, progress: Any, what: Round, logs: dict[str, str]) -> None:
        there.extend(log_path(self.home, self.run.id, e.work.live.key, e.work.number).is_file() for e in what.ended)
        save(self, scope, progress, what, logs)

    monkeypatch.setattr(Recorder, "_save_ended", looking)
    run = client.pipelines.run(alone)
    assert (there, client.pipelines.log(run.id, "first").text) == ([True], "first was here\n")


def test_a_run_that_is_resumed_at_once_keeps_its_new_logs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = QueueStore.finish
    home = client.transport.platform.settings.home_path  # type: ignore[attr-defined]
    made: list[Path] = []

    def resumed(self: QueueStore, job: Job, **options: Any) -> bool:
        made.append(log_path(home, job.subject, "first", 2))
        made[-1].parent.mkdir(parents=True, exist_ok=True)
        made[-1].write_text("the next attempt")
        return finish(self, job, **options)

    monkeypatch.setattr(QueueStore, "finish", resumed)
    client.pipelines.run(alone)
    assert made[0].read_text() == "the next attempt"
