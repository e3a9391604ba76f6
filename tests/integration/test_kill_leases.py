"""Leases: a worker that was away cannot commit, a clock that is an hour off neither steals nor holds a run."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from rung.app.local import local_transport
from rung.app.opening import open_platform
from rung.app.platform import Platform
from rung.client.client import Client
from rung.core.clock import SystemClock
from rung.core.settings import Settings, load_settings
from rung.engine.driving import Driver
from rung.engine.leases import LeaseWatch
from rung.engine.loop import Engine
from rung.pipelines.records import PipelineRunDetail
from rung.storage.queue import Job, QueueStore
from tests.integration.killing import Nursery

PROJECT = """
import os, time
from pathlib import Path
from rung import pipeline, step

@step(cache=False)
def slow(name: str) -> str:
    with open({marks!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    time.sleep(1.0)
    return name

@pipeline
def one(name: str = "x"):
    return slow(name)
"""


class SkewedClock(SystemClock):
    """The machine's clock, wrong by so much."""

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        """The wrong instant."""
        return super().now() + self._by


def _project(tmp_path: Path, *, lease_s: float = 1.5, **flags: str) -> Settings:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "rung.toml").write_text(f"[engine]\nlease_s = {lease_s}\ntick_s = 0.05\n")
    (folder / "pipelines.py").write_text(PROJECT.format(marks=str(tmp_path / "marks")))
    (tmp_path / "marks").touch()
    return load_settings(folder, environ={}, flags=flags)


def _until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def _look(settings: Settings, run: str) -> PipelineRunDetail:
    with Client(local_transport(settings)) as client:
        return client.pipelines.get(run)


def test_a_worker_that_was_stopped_comes_back_and_cannot_commit(tmp_path: Path) -> None:
    settings = _project(tmp_path)
    go = tmp_path / "go"
    _held_back(settings, go)
    marks, nursery = tmp_path / "marks", Nursery(Path(settings.folder))
    try:
        with Client(local_transport(settings)) as client:
            client.pipelines.register()
            run = client.pipelines.run("one", wait=False).id
        zombie = nursery.fork("worker")
        _until(lambda: str(zombie) in marks.read_text())
        _stop_between_writes(settings, zombie)  # alive for the machine, silent for the others: only its lease tells
        go.touch()
        other = nursery.fork("worker")
        _until(lambda: _look(settings, run).run.status == "succeeded")
        ended = _look(settings, run)
        os.kill(zombie, signal.SIGCONT)
        time.sleep(2.5)  # time enough for its step to end and its driver to try
        assert _look(settings, run) == ended
        assert [attempt.status for attempt in ended.attempts] == ["lost", "succeeded"]
        assert [str(pid) for pid in (zombie, other)] == marks.read_text().split()
        again = _queue(settings)
        _until(lambda: _look(settings, again).run.status == "succeeded")  # and both go on working
    finally:
        nursery.close()


def _stop_between_writes(settings: Settings, pid: int) -> None:
    """Stop a process where it is not writing: one that is stopped in a transaction keeps the file from everybody."""
    ours = sqlite3.connect(settings.home_path / "rung.db", timeout=120, isolation_level=None)
    ours.execute("BEGIN IMMEDIATE")
    os.kill(pid, signal.SIGSTOP)
    _until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    ours.execute("ROLLBACK")
    ours.close()


def _held_back(settings: Settings, go: Path) -> None:
    """Let the project's step last until a file is there."""
    code = Path(settings.folder) / "pipelines.py"
    code.write_text(code.read_text().replace("time.sleep(1.0)", f"while not os.path.exists({str(go)!r}): time.sleep(0.02)"))


def _queue(settings: Settings) -> str:
    with Client(local_transport(settings)) as client:
        return client.pipelines.run("one", {"name": "y"}, wait=False).id


def _engine(settings: Settings, hours: float) -> tuple[Platform, Engine]:
    platform, _ = open_platform(settings, SkewedClock(timedelta(hours=hours)))
    return platform, Engine(platform)


def test_clocks_an_hour_off_neither_steal_nor_hold_a_run(any_settings: Settings, tmp_path: Path) -> None:
    # A long lease: what is taken by the clock would be taken at once, and a machine that stands still for a while is no dead worker.
    settings = _project(tmp_path, lease_s=60, **{"home": any_settings.home, "storage.database": any_settings.storage.database})
    go = tmp_path / "go"
    _held_back(settings, go)
    with Client(local_transport(settings)) as client:
        client.pipelines.register()
        run = client.pipelines.run("one", wait=False).id
    for mine, others in ((1.0, -1.0), (-1.0, 1.0)):
        wanted = run
        (ahead, worker), (behind, observer) = _engine(settings, mine), _engine(settings, others)
        observer.owner = "elsewhere|boot|1|1"  # as if on another machine: nothing but the lease tells it of the worker
        worker.owner = "faraway|boot|1|1"
        worker.start()
        try:
            _until(lambda wanted=wanted: _look(settings, wanted).run.status == "running")  # type: ignore[misc]
            until = time.monotonic() + 0.8
            while time.monotonic() < until:
                observer.tick()
            assert observer._drivers == {}
            go.touch()
            _until(lambda wanted=wanted: _look(settings, wanted).run.status == "succeeded")  # type: ignore[misc]
            assert len(_look(settings, wanted).attempts) == 1
        finally:
            worker.stop()
            observer.stop()
            ahead.close()
            behind.close()
        go.unlink()
        run = _queue(settings)


def test_an_abandoned_run_is_taken_up_after_its_lease_by_a_clock_an_hour_behind(any_settings: Settings, tmp_path: Path) -> None:
    settings = _project(tmp_path, **{"home": any_settings.home, "storage.database": any_settings.storage.database})
    with Client(local_transport(settings)) as client:
        client.pipelines.register()
        run = client.pipelines.run("one", wait=False).id
    ahead, _ = open_platform(settings, SkewedClock(timedelta(hours=1)))
    lease = timedelta(seconds=settings.engine.lease_s)
    job = ahead.database.write(lambda c: QueueStore(c).claim("pipelines", owner="faraway|boot|1|1", lease=lease))
    assert job is not None
    behind, engine = _engine(settings, -1.0)
    began = time.monotonic()
    try:
        _until(lambda: (engine.tick() and _look(settings, run).run.status in {"running", "succeeded"}) or bool(engine._drivers))
        assert time.monotonic() - began >= settings.engine.lease_s
        _until(lambda: _look(settings, run).run.status == "succeeded")
        assert not ahead.database.write(lambda c: QueueStore(c).finish(job, now=ahead.clock.now()))
    finally:
        engine.stop()
        ahead.close()
        behind.close()


def test_a_worker_that_ends_gives_its_run_back_at_once(tmp_path: Path) -> None:
    settings = _project(tmp_path)
    go = tmp_path / "go"
    _held_back(settings, go)
    with Client(local_transport(settings)) as client:
        client.pipelines.register()
        run = client.pipelines.run("one", wait=False).id
        platform = client.transport.platform  # type: ignore[attr-defined]
        first = Engine(platform)
        first.start()
        _until(lambda: client.pipelines.get(run).run.status == "running")
        driver = next(iter(first._drivers.values()))
        threading.Thread(target=lambda: (_until(driver.claim.lost.is_set), go.touch()), daemon=True).start()  # its step is waited for
        first.stop()
        job = platform.database.read(lambda c: QueueStore(c).of_subject(run))
        assert (job.state, job.attempts) == ("queued", 0)
        second = Engine(platform)
        second.run_until_idle()
        second.stop()
        assert client.pipelines.get(run).run.status == "succeeded"


def test_the_watch_counts_beats_by_its_own_clock() -> None:
    now = [100.0]
    watch = LeaseWatch(lambda: now[0])
    job = _job(beats=0)
    assert watch.silent([job]) == []
    now[0] += 29
    assert watch.silent([job]) == []
    now[0] += 2
    assert watch.silent([job]) == [job]
    alive = _job(beats=1)
    assert watch.silent([alive]) == []
    now[0] += 31
    assert watch.silent([alive]) == [alive]
    assert watch.silent([_job(beats=1, fence=2)]) == []


def _job(*, beats: int, fence: int = 1) -> object:
    from rung.storage.queue import Job

    return Job(
        id="0" * 32, project="p", queue="q", kind="k", subject="s", payload={}, state="leased", attempts=1, max_attempts=5,
        run_at=SystemClock().now(), fence=fence, beats=beats, lease_s=30.0,
    )  # fmt: skip


def test_a_driver_that_has_lost_its_claim_writes_nothing(tmp_path: Path) -> None:
    settings = _project(tmp_path)
    go = tmp_path / "go"
    _held_back(settings, go)
    with Client(local_transport(settings)) as client:
        client.pipelines.register()
        run = client.pipelines.run("one", wait=False).id
        platform = client.transport.platform  # type: ignore[attr-defined]
        engine = Engine(platform)
        engine.start()
        _until(lambda: client.pipelines.get(run).run.status == "running")
        driver: Driver = next(iter(engine._drivers.values()))
        engine._claim = lambda: False  # type: ignore[method-assign]  # what is given back is for the next engine
        job = platform.database.read(lambda c: QueueStore(c).of_subject(run))
        platform.database.write(lambda c: QueueStore(c).give_back(job, now=platform.clock.now(), died=False))
        before = client.pipelines.get(run).steps
        _until(driver.claim.lost.is_set)
        assert before == client.pipelines.get(run).steps
        go.touch()
        engine.stop()
        second = Engine(platform)
        second.run_until_idle()
        second.stop()
        detail = client.pipelines.get(run)
        assert detail.run.status == "succeeded"
        assert sum(attempt.status == "succeeded" for attempt in detail.attempts) == 1


def test_a_driver_that_lost_its_claim_does_not_end_the_next_one_s_beats(tmp_path: Path) -> None:
    settings = _project(tmp_path)
    code = Path(settings.folder) / "pipelines.py"
    one, two = tmp_path / "one", tmp_path / "two"
    waits = f"go = {str(one)!r} if len(open({str(tmp_path / 'marks')!r}).readlines()) == 1 else {str(two)!r}\n    while not os.path.exists(go): time.sleep(0.02)"
    code.write_text(code.read_text().replace("time.sleep(1.0)", waits))
    with Client(local_transport(settings)) as client:
        client.pipelines.register()
        run = client.pipelines.run("one", wait=False).id
        platform = client.transport.platform  # type: ignore[attr-defined]

        def job() -> Job:
            found: Job = platform.database.read(lambda c: QueueStore(c).of_subject(run))
            return found

        engine = Engine(platform)
        engine.start()
        _until(lambda: client.pipelines.get(run).run.status == "running" and bool((tmp_path / "marks").read_text()))
        first: Driver = next(iter(engine._drivers.values()))
        platform.database.write(lambda c: QueueStore(c).give_back(job(), now=platform.clock.now(), died=False))
        _until(lambda: any(driver is not first for driver in engine._drivers.values()))  # the same engine takes it up again
        _until(lambda: len((tmp_path / "marks").read_text().split()) == 2)
        one.touch()
        _until(first.claim.lost.is_set)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("rung-step")]
        _until(lambda: sum(held is first for held in engine._drivers.values()) == 0 and bool(threads))
        beats = job().beats
        _until(lambda: job().beats > beats)
        two.touch()
        _until(lambda: client.pipelines.get(run).run.status == "succeeded")
        engine.stop()


def test_ctrl_c_ends_a_run_whose_step_cannot_be_stopped(tmp_path: Path) -> None:
    settings = _project(tmp_path)
    marks, folder = tmp_path / "marks", Path(settings.folder)
    (folder / "pipelines.py").write_text(PROJECT.format(marks=str(marks)).replace("time.sleep(1.0)", "time.sleep(600)"))
    process = subprocess.Popen(
        [sys.executable, "-m", "rung.cli.main", "run", "one"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        _until(lambda: bool(marks.read_text()))
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 130, output
    assert "Stopping" in output
    assert "rung run --resume one:1" in output
    found = _look(settings, "one:1")
    assert (found.run.status, [step.status for step in found.steps]) == ("cancelled", ["cancelled"])
