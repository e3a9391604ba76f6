"""The warm process outlives whatever its clients do, and takes none of their commands along."""

from __future__ import annotations

import array
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.cli import warm_host
from rung.cli.warm_client import wish_of
from rung.cli.warm_host import Host, _Call, _read, _Wish


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "warm.sock", idle_s=60.0)
    made._pid, made._inode = os.getpid(), 0
    yield made
    made._selector.close()
    for held in (made._listener, made._wake_read, made._wake_write):
        held.close()


def called(host: Host, pid: int) -> tuple[_Call, socket.socket]:
    """A command under way, and its client's side."""
    ours, theirs = socket.socketpair()
    call = host._calls[pid] = _Call(ours, pid)
    host._selector.register(ours, selectors.EVENT_READ, call)
    return call, theirs


def test_a_client_that_goes_without_reading_takes_only_its_own_command_along(host: Host) -> None:
    command = subprocess.Popen(["sleep", "60"])
    call, theirs = called(host, command.pid)
    call.connection.sendall(b"1234\n")
    theirs.close()  # which is a reset for the other side
    host._hung_up(call)
    assert command.wait(30) == -signal.SIGKILL
    call.connection.close()


def test_a_client_and_its_command_may_end_in_the_same_round(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    command = subprocess.Popen(["true"])
    call, theirs = called(host, command.pid)
    theirs.close()
    os.waitid(os.P_PID, command.pid, os.WEXITED | os.WNOWAIT)
    host._reap()
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("the number may be another's by now"))
    host._hung_up(call)
    command.returncode = 0  # it was reaped


def test_a_warm_process_that_was_replaced_stays_for_the_commands_it_runs(host: Host) -> None:
    call, theirs = called(host, 1)
    assert not host.path.exists()
    assert not host._over()
    host._calls.clear()
    assert host._over()
    theirs.close()
    call.connection.close()


def test_a_wish_that_was_broken_off_holds_no_stream_open() -> None:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    wish = wish_of(["run", "train"])
    theirs.sendmsg([len(wish).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writing] * 3))])
    theirs.sendall(wish[: wish.index(b"\0", len(wish) // 2) + 1])
    theirs.close()
    os.close(writing)
    assert _read(ours) is None
    os.set_blocking(reading, False)
    assert os.read(reading, 1) == b"", "nobody can write any more"
    os.close(reading)
    ours.close()


def test_a_command_that_is_ended_as_it_begins_does_end(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    fork = os.fork

    def ended_at_once() -> int:
        pid = fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return pid

    monkeypatch.setattr(os, "fork", ended_at_once)
    monkeypatch.setattr(warm_host, "_read", lambda _: _Wish("rung", [], b"/", {}, 0o022, []))
    before = signal.signal(signal.SIGTERM, lambda *_: setattr(host, "idle_s", 0.0))  # as a warm process has it
    ours, theirs = socket.socketpair()
    try:
        if host._accepted(ours) is not None:
            os._exit(7)  # the child goes on
    finally:
        signal.signal(signal.SIGTERM, before)
    (pid,) = host._calls
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    ours.close()
    theirs.close()
