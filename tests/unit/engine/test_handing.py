"""Attempts on their way to another engine: cancelled before they are there, and workers that several engines share."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from rung.core.ids import new_id
from rung.core.settings import EngineSettings, Settings
from rung.engine import remote
from rung.engine.executors.family import Outcome, Task
from rung.engine.executors.ray import Ray, _Kind, _Piece
from rung.engine.handing import Handing
from rung.pipelines.context import StepContext
from rung.storage.blobs import open_blobs


def _task(folder: Path) -> Task:
    return Task(
        id=new_id(), step="s", target="m:s", outputs=("output",), arguments={},
        context=StepContext(pipeline="p", pipeline_run="0" * 32, step="s", attempt=1, seed=7), log=folder / "log", scratch=folder,
    )  # fmt: skip


class Far(Handing):
    """Another engine that is reached when ``reached`` is set, and ends nothing but what it finds to withdraw."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.handing, self.go = threading.Event(), threading.Event(), threading.Event()
        self.held: dict[str, Future[Outcome]] = {}
        self.go.set()

    def _connect(self) -> None:
        assert self.reached.wait(30)

    def _hand_over(self, task: Task, done: Future[Outcome]) -> None:
        self.handing.set()
        assert self.go.wait(30)
        self.held[task.id] = done

    def _withdraw(self, task: str) -> None:
        if task in self.held:
            self.held.pop(task).set_result(Outcome("cancelled"))


@pytest.fixture
def far() -> Iterator[Far]:
    made = Far()
    yield made
    made.reached.set()
    made.go.set()
    made._connecting.shutdown(wait=True)


def test_an_attempt_that_is_cancelled_while_its_cluster_is_reached_is_not_begun(far: Far, tmp_path: Path) -> None:
    task = _task(tmp_path)
    future = far.submit(task)
    far.cancel(task.id)
    far.reached.set()
    assert future.result(timeout=30).status == "cancelled"
    assert not far.handing.is_set()


def test_an_attempt_that_is_cancelled_while_it_is_handed_over_is_ended(far: Far, tmp_path: Path) -> None:
    task = _task(tmp_path)
    far.go.clear()
    far.reached.set()
    future = far.submit(task)
    assert far.handing.wait(30)
    far.cancel(task.id)
    far.go.set()
    assert future.result(timeout=30).status == "cancelled"


class Tasks:
    """What Ray gives for a task: its end comes when the test says so."""

    def __init__(self) -> None:
        self.given: list[Future[list[bytes]]] = []
        self.cancelled: list[Any] = []

    def remote(self, _: list[bytes]) -> Any:
        self.given.append(Future())
        return self

    def future(self) -> Future[list[bytes]]:
        return self.given[-1]

    def cancel(self, ref: Any, *, force: bool) -> None:
        self.cancelled.append((ref, force))


class Raised(Exception):
    """Stands for Ray's own class."""


def test_an_attempt_that_is_cancelled_as_ray_sends_it_back_is_not_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, executor = Tasks(), Ray(open_blobs(f"file://{tmp_path}"), 2, Settings(engine=EngineSettings()))
    executor._ray = type("ray", (), {"cancel": tasks.cancel, "exceptions": type("all", (), {"RayTaskError": Raised})})
    piece = _Piece(_task(tmp_path), b"", Future())
    again = Ray._again

    def cancelling(self: Ray, kind: _Kind, one: _Piece) -> None:
        self.cancel(one.task.id)
        again(self, kind, one)

    monkeypatch.setattr(Ray, "_again", cancelling)
    kind = _Kind(tasks)
    executor._send(kind, [piece], shared=False)
    tasks.given[0].set_result([b""])  # it did not begin there, for one before it took long
    assert tasks.cancelled == [(tasks, True)]
    tasks.given[1].set_exception(ValueError("cancelled"))
    assert piece.done.result(timeout=5).status == "cancelled"
    assert (executor._sending, executor._cancelled, executor._refs) == (set(), set(), {})


class Pools:
    """A pool that notes that it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def test_an_engine_that_goes_leaves_alone_what_others_run_on_the_same_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    pool: Any = Pools()
    monkeypatch.setattr(remote, "_pools", [pool])
    monkeypatch.setattr(remote, "_under_way", {"an attempt of another engine"})
    remote.close_here(idle_only=True)
    assert (pool.closed, remote._pools) == (0, [pool])
    remote._under_way.clear()
    remote.close_here(idle_only=True)
    assert (pool.closed, remote._pools) == (1, [])


def test_a_container_that_is_to_end_ends_though_what_was_interrupted_holds_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(remote, "_LEAVE_S", 0.1)
    monkeypatch.setattr(remote, "_pools", [])
    before = set(threading.enumerate())
    with remote._lock:
        remote._leave()
    assert left == [143]
    for closing in set(threading.enumerate()) - before:
        closing.join(120)


def test_a_snapshot_that_another_process_restored_first_leaves_no_second_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    digest = "blake3:" + "a" * 64

    def restored(_: str, __: Any, part: Path) -> None:
        (part / "m.py").write_text("")
        other = part.parent / ("a" * 32)
        other.mkdir()
        (other / "m.py").write_text("")

    monkeypatch.setattr(remote, "restore", restored)
    errand: Any = type("errand", (), {"snapshot": digest, "code": "", "folder": ""})
    folder = Path(remote.code_folder(errand, open_blobs(f"file://{tmp_path / 'blobs'}")))
    assert (folder.name, [entry.name for entry in folder.parent.iterdir()]) == ("a" * 32, ["a" * 32])
