"""A model's process where askers, forks and ends come at the same time; no process is started here."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rung.pipelines import building
from rung.serving.isolated import wire
from rung.serving.isolated.locked import locked_python
from rung.serving.isolated.scoring import Isolated, Spec
from rung.serving.isolated.starting import Process

VERSION: Any = SimpleNamespace(model="m", number=1, lock="blake3:aa")


class Held:
    """What stands for a process: alive until killed."""

    pid = 0
    returncode: int | None = None

    def __init__(self) -> None:
        self.killed = threading.Event()

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.killed.set()

    def wait(self, timeout: float | None = None) -> int:
        return 0


@pytest.fixture
def process() -> Iterator[Process]:
    ours, theirs = socket.socketpair()
    held: Any = Held()
    yield Process(held, ours, time.monotonic())
    ours.close()
    theirs.close()


def test_what_a_request_waited_for_others_is_no_sign_that_the_process_hangs(
    process: Process, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, turns, times = Isolated(Spec(VERSION, tmp_path, timeout_s=5.0)), list[float](), list[float]()
    monkeypatch.setattr(one, "_keep", lambda *, asking=0: None)

    def running(_: float) -> Process:
        time.sleep(0.05)  # it was being started
        turns.append(time.monotonic())
        return process

    def receive(_: int, *, until: float) -> wire.Message:
        times.append(until)
        return wire.SCORES, 1, 0, np.ones(1).tobytes()

    monkeypatch.setattr(one, "_running", running)
    monkeypatch.setattr(wire, "send", lambda *_, **__: None)
    monkeypatch.setattr(wire, "receive", receive)
    assert one.matrix(np.ones((1, 2))).tolist() == [1.0]
    assert times[0] >= turns[0] + 5.0


def test_a_line_is_closed_only_when_nobody_reads_it(process: Process) -> None:
    with process.asked:
        ending = threading.Thread(target=process.end)
        ending.start()
        held: Any = process.held
        assert held.killed.wait(120)
        assert process.line.recv(1) == b""  # whoever reads hears at once that nothing comes
        assert process.line.fileno() >= 0  # or the number would be another connection's
    ending.join(120)
    assert process.line.fileno() == -1


def test_threads_that_ask_first_after_a_fork_begin_anew_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one, both, count = Isolated(Spec(VERSION, tmp_path)), threading.Barrier(2), list[int]()
    reset = Isolated._reset

    def slow(self: Isolated) -> None:
        count.append(1)
        time.sleep(0.05)
        reset(self)

    one._pid = -1  # as in a child
    monkeypatch.setattr(Isolated, "_reset", slow)

    def own() -> None:
        both.wait(120)
        one._own()

    threads = [threading.Thread(target=own) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert (len(count), one._pid) == (1, os.getpid())


def test_requirements_are_whole_for_whoever_builds_by_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blobs: Any = SimpleNamespace(get=lambda _: b"numpy==2.0.0\nscipy==1.0.0\n")
    monkeypatch.setattr(building, "uv_environment", lambda place, *, home: SimpleNamespace(python=place))
    place = Path(locked_python(blobs, VERSION, tmp_path))
    with place.open() as building_by_it:  # and another worker asks for the same meanwhile
        locked_python(blobs, VERSION, tmp_path)
        assert os.fstat(building_by_it.fileno()).st_ino != place.stat().st_ino
        assert building_by_it.read() == place.read_text() == "numpy==2.0.0\nscipy==1.0.0\n"
