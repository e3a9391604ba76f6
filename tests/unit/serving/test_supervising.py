"""The supervisor of serving processes where signals, deaths and starts come in an awkward order."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.core.errors import Unavailable
from rung.core.settings import load_settings
from rung.server.serving import supervising, template, worker
from rung.server.serving.supervising import Supervisor
from rung.server.serving.template import Template, start_template
from rung.server.serving.worker import Job, become_worker, held_orders
from rung.serving.ending import Flag
from tests.servers import wait_until


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / "home")}), 1)


@pytest.fixture(autouse=True)
def ending(monkeypatch: pytest.MonkeyPatch) -> Flag:
    """A process that nobody has told to end, whatever other tests did in it."""
    flag = Flag()
    monkeypatch.setattr(worker, "ENDING", flag)
    return flag


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as held:
        yield held


def ended(pid: int) -> int:
    """The status of a child, which is killed if it does not end."""
    found: list[int] = []

    def gone() -> bool:
        waited, status = os.waitpid(pid, os.WNOHANG)
        found.extend([status] if waited else [])
        return bool(waited)

    try:
        wait_until(gone, 120, lambda: f"{pid} lives on")
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return found[0]


def test_an_order_to_end_that_comes_while_a_worker_is_forked_is_not_lost(
    job: Job, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "work", lambda *_: time.sleep(60))
    told, tells = os.pipe()
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # the child inherits the supervisor's own handler
    try:
        with held_orders():
            pid = os.fork()
            if pid == 0:
                os.read(told, 1)  # it is slow, and the order comes before it has handlers of its own
                become_worker(job, listener, tells, supervisor=os.getppid())
        os.kill(pid, signal.SIGTERM)
        os.write(tells, b"x")
        assert ended(pid) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(told)
        os.close(tells)


def test_an_order_to_end_does_not_cut_off_what_a_worker_closes(
    job: Job, listener: socket.socket, ending: Flag, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, tells = os.pipe()

    def closing(*_: object) -> int:
        ending.set()  # as the server does when it is told to end; what follows is the closing
        os.write(tells, b"x")
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            time.sleep(0.01)
        return 0

    monkeypatch.setattr(worker, "work", closing)
    with held_orders():
        pid = os.fork()
        if pid == 0:
            become_worker(job, listener, tells, supervisor=os.getppid())
    os.read(told, 1)
    os.kill(pid, signal.SIGTERM)
    assert ended(pid) == 0
    os.close(told)
    os.close(tells)


def test_the_number_of_a_template_that_was_waited_for_is_nobodys(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    ours, other = socket.socketpair()
    supervisor = Supervisor(job, [], lambda: ours, print)
    held = supervisor._template = Template(pid, ours, forks=False, first_token="")

    def waited_for() -> bool:
        supervisor._reap()
        return held.pid == 0

    wait_until(waited_for, 120, lambda: f"{pid} was not waited for")
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))
    held.close()  # by now another process may have the number
    assert not killed
    other.close()


def test_who_is_told_to_stop_does_not_wait_for_models_to_load(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "_load", lambda _: time.sleep(60))
    pids: list[int] = []
    fork = os.fork

    def noted() -> int:
        pids.append(fork())
        return pids[-1]

    monkeypatch.setattr(os, "fork", noted)
    asked = iter((False, False, True))
    assert start_template(job, lambda: next(asked)) is None
    assert os.WTERMSIG(ended(pids[0])) == signal.SIGKILL


def test_workers_that_answer_outlive_a_template_that_cannot_be_loaded_again(
    job: Job, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> Template:
        raise Unavailable("The database is away.", code="storage.unavailable")

    monkeypatch.setattr(supervising, "start_template", down)
    monkeypatch.setattr(supervising, "keep_only", lambda *_: None)
    monkeypatch.setattr(supervising, "become_worker", lambda *_, **__: os._exit(3))
    said: list[str] = []
    supervisor = Supervisor(job, [listener], lambda: listener, said.append)
    gone, other = socket.socketpair()
    other.close()
    supervisor._template = Template(0, gone, forks=True, first_token="")
    supervisor._start(supervisor._places[0])
    held = supervisor._places[0].worker
    assert held is not None
    assert os.waitstatus_to_exitcode(ended(held.pid)) == 3  # it tried for itself
    assert said == ["Workers load for themselves: The database is away."]
    os.close(held.ready)


def test_a_thread_that_has_ended_does_not_keep_a_template_from_forking(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter((["1", "2"], ["1"]))  # the kernel lets go of it a moment after it was joined
    monkeypatch.setattr(os, "listdir", lambda _: next(seen))
    assert template._alone()
    monkeypatch.setattr(os, "listdir", lambda _: ["1", "2"])
    assert not template._alone()
