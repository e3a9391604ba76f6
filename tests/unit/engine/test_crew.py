"""Processes of steps when two things happen at once: ends and cancels, zygotes that retire, keepers that are killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import Unavailable
from rung.core.ids import new_id
from rung.core.settings import Settings
from rung.engine.executors.family import Task
from rung.engine.executors.pool import Pool
from rung.engine.logs import LogFile
from rung.engine.workers import holding, keeper
from rung.engine.workers.holding import Attendance, End, Held, Limits, Orders
from rung.pipelines.context import StepContext
from rung.storage.blobs import open_blobs
from tests.conformance import executor_steps as steps
from tests.processes import is_alive

ROOT = Path(__file__).parents[3]


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    made = Pool(open_blobs(f"file://{tmp_path / 'blobs'}"), 2, Settings())
    yield made
    made.close()


@pytest.fixture
def task(tmp_path: Path) -> Any:
    """Makes the task of a step."""

    def made(function: Any, **arguments: Any) -> Task:
        return Task(
            id=new_id(), step=function.__name__, target=f"{steps.__name__}:{function.__name__}", outputs=("output",), arguments=arguments,
            function=function, context=StepContext(pipeline="p", pipeline_run="0" * 32, step="s", attempt=1, seed=7),
            log=tmp_path / "log", scratch=tmp_path / "scratch", folder=ROOT, environ={"RUNG_STORAGE_BLOBS": f"file://{tmp_path / 'blobs'}"},
        )  # fmt: skip

    return made


def _status(pool: Pool, task: Task) -> str:
    return pool.submit(task).result(timeout=60).status


def _gone(pid: int, within_s: float = 60.0) -> bool:
    until = time.monotonic() + within_s
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not is_alive(pid)


def test_a_cancel_that_comes_as_a_step_ends_writes_to_nobody_s_file(
    pool: Pool, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, cancel, began = task(steps.sleep, seconds=0.3), Attendance.cancel, threading.Event()
    attend = Attendance.until_end

    def attending(self: Attendance, output: int) -> End:
        began.set()
        return attend(self, output)

    def slow(self: Attendance) -> None:
        time.sleep(1.0)  # the step ends meanwhile, and whoever opens a file may be given its descriptor
        with ExitStack() as stack:
            for number in range(64):
                stack.enter_context((tmp_path / f"other-{number}").open("wb", buffering=0))
            cancel(self)

    monkeypatch.setattr(Attendance, "until_end", attending)
    monkeypatch.setattr(Attendance, "cancel", slow)
    future = pool.submit(one)
    began.wait(60)
    pool.cancel(one.id)
    future.result(timeout=60)
    assert {file.read_bytes() for file in tmp_path.glob("other-*")} == {b""}


def test_a_zygote_that_retires_takes_along_no_process_that_is_being_lent(pool: Pool, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _status(pool, task(steps.double, x=1)) == "succeeded"
    (zygote,), has_ended = pool._zygotes.values(), Held.has_ended

    def retiring(self: Held) -> bool:
        ended = has_ended(self)
        if not zygote.retired:
            with pool._forking:
                pool._forget(next(iter(pool._zygotes)))
            time.sleep(0.3)
        return ended

    monkeypatch.setattr(Held, "has_ended", retiring)
    assert _status(pool, task(steps.double, x=1)) == "succeeded"
    assert _gone(zygote.held.pid)  # it has nobody left to stay for


def test_a_process_that_comes_back_while_its_zygote_retires_does_not_wait_for_the_next_step(pool: Pool) -> None:
    here, there = socket.socketpair()
    (mine, theirs), (status, told) = socket.socketpair(), os.pipe()
    held = Held(os.getpid(), mine, status, "code")
    zygote = pool_zygote(here)
    pool._parents[held.status] = zygote
    zygote.retired = True
    pool._returned(held, worn="")
    assert (pool._idle, pool._parents, zygote.lent) == ({}, {}, 0)
    theirs.close()
    there.close()
    os.close(told)


def pool_zygote(control: socket.socket) -> Any:
    from rung.engine.executors import pool as module

    return module._Zygote(Held(os.getpid(), control, os.pipe()[0], "code"), Orders(control), lent=1)


def test_a_step_that_finds_its_keeper_just_killed_is_started_by_another(pool: Pool, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _status(pool, task(steps.double, x=1)) == "succeeded"
    process = pool.keeping._process
    assert process is not None
    process.kill()
    process.wait()
    monkeypatch.setattr(process, "poll", lambda: None)  # as it looks while it is being killed
    for held in [held for waiting in pool._idle.values() for held in waiting]:
        assert _gone(held.pid)
    assert _status(pool, task(steps.double, x=1)) == "succeeded"


def test_an_answer_that_comes_late_is_not_taken_for_that_of_the_next_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "_START_S", 0.1)
    mine, theirs = socket.socketpair()
    orders = Orders(mine)
    with pytest.raises(Unavailable):
        orders.preload(["slow"], [])
    monkeypatch.setattr(holding, "_START_S", 30.0)

    def answers() -> None:
        for _ in range(2):
            order = json.loads(keeper.receive(theirs)[0])
            keeper.send(theirs, json.dumps({"files": order["modules"], "number": order["number"]}).encode())

    thread = threading.Thread(target=answers)
    thread.start()
    assert orders.preload(["quick"], [])["files"] == ["quick"]
    thread.join()
    orders.close()
    theirs.close()


GRANDCHILD = (
    "import os, subprocess, sys, time; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True); time.sleep(600)"
)


def test_a_keeper_whose_engine_goes_while_it_answers_leaves_nothing_behind() -> None:
    mine, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, str(theirs.fileno()), str(os.getpid())],
        pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    theirs.close()
    said, log = os.pipe()
    held = Orders(mine).start([sys.executable, "-c", GRANDCHILD], environ=dict(os.environ), cwd="", log=log)
    grandchild = int(os.read(said, 100))
    process.send_signal(signal.SIGSTOP)
    (a, b), (status, told) = socket.socketpair(), os.pipe()
    order = {"do": "exec", "argv": ["sleep", "600"], "environ": {"PATH": os.environ["PATH"]}, "cwd": "", "number": 2}
    keeper.send(mine, json.dumps(order).encode(), (b.fileno(), told, log))
    mine.close()
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=60) == 0
    assert _gone(held.pid)
    assert _gone(grandchild)
    held.let_go()
    for end in (a, b):
        end.close()
    for fd in (said, log, status, told):
        os.close(fd)


def test_how_a_process_ended_is_waited_for_where_the_machine_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "_GRACE_S", 0.05)
    ended = subprocess.Popen(["true"])
    ended.wait()
    (mine, theirs), (status, told), (output, _output) = socket.socketpair(), os.pipe(), os.pipe()
    theirs.close()  # it has ended, and its keeper does not come to tell how
    threading.Timer(0.4, lambda: os.write(told, json.dumps({"status": 3 << 8, "cpu_s": 0.0}).encode())).start()
    attendance = Attendance(Held(ended.pid, mine, status, ""), LogFile(tmp_path / "log"), Limits())
    assert os.waitstatus_to_exitcode(attendance.until_end(output).status or 0) == 3
    mine.close()
    for fd in (status, told, output, _output, attendance.asked):
        os.close(fd)


def test_a_log_whose_folder_is_cleared_away_as_it_is_opened_is_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, log = os.open, LogFile(tmp_path / "logs" / "log")

    def clearing(path: Any, *arguments: Any) -> int:
        monkeypatch.setattr(os, "open", opened)
        (tmp_path / "logs").rmdir()
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", clearing)
    log.write(b"here")
    log.close()
    assert (tmp_path / "logs" / "log").read_bytes() == b"here"
