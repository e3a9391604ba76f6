"""Who gives a second command soon after the first has a warm process for the third; nobody else has one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rung.cli import warm_start
from tests.integration.warm.commands import end, rung, told, wait_for
from tests.processes import is_alive


@pytest.fixture
def person(env: dict[str, str]) -> Iterator[dict[str, str]]:
    """The environment of somebody who tests nothing."""
    yield {key: value for key, value in env.items() if key != "PYTEST_CURRENT_TEST"}
    for pid in _hosts(env):
        end(pid)


def _hosts(env: dict[str, str]) -> list[int]:
    """Processes that are warm, or about to be, with a socket in this place."""
    place = f"{env['XDG_RUNTIME_DIR']}/".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"rung.cli.warm_host" in words and any(word.startswith(place) for word in words):
                    found.append(int(entry.name))
    return found


def _status(project: Path, env: dict[str, str]) -> dict[str, object]:
    answer: dict[str, object] = json.loads(rung("warm", "status", "--json", folder=project, env=env).stdout)
    return answer


def _wait_until_warm(project: Path, env: dict[str, str]) -> object:
    wait_for(lambda: _status(project, env)["warm"])
    return _status(project, env)["pid"]


def test_the_first_command_leaves_nothing_the_second_a_process_that_runs_the_third(project: Path, person: dict[str, str]) -> None:
    assert rung("--version", folder=project, env=person).returncode == 0
    assert _hosts(person) == []
    done = rung("--version", folder=project, env=person)
    assert (done.returncode, done.stderr) == (0, ""), "only a terminal is told"
    pid = _wait_until_warm(project, person)
    assert told(project, person)["parent"] == pid
    assert _hosts(person) == [pid]
    rung("warm", "stop", folder=project, env=person)
    wait_for(lambda: not is_alive(int(str(pid))))


def test_what_waits_for_the_end_of_output_does_not_wait_for_the_warm_process(project: Path, person: dict[str, str]) -> None:
    reading, writing = os.pipe()
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-m", "rung.cli.entry", "--version"], cwd=project, env=person, check=True, stdout=writing, pass_fds=(writing,)
        )
    os.close(writing)
    _wait_until_warm(project, person)
    with os.fdopen(reading) as stream:
        assert stream.read().count("version") == 2


def test_commands_at_once_start_one(project: Path, person: dict[str, str]) -> None:
    command = [sys.executable, "-m", "rung.cli.entry", "--version"]
    for _ in range(2):
        for process in [subprocess.Popen(command, cwd=project, env=person, stdout=subprocess.DEVNULL) for _ in range(6)]:
            assert process.wait(timeout=120) == 0
    pid = _wait_until_warm(project, person)
    assert _hosts(person) == [pid]


@pytest.mark.parametrize("switch", [{"RUNG_WARM": "0"}, {"PYTEST_CURRENT_TEST": "theirs"}])
def test_where_it_is_not_wanted_none_starts(project: Path, person: dict[str, str], switch: dict[str, str]) -> None:
    for _ in range(3):
        assert rung("--version", folder=project, env={**person, **switch}).returncode == 0
    assert _hosts(person) == []
    if "RUNG_WARM" in switch:
        done = rung("warm", "start", folder=project, env={**person, **switch})
        assert done.returncode == 1
        assert "RUNG_WARM" in done.stderr


def test_what_cannot_start_says_why_and_is_not_tried_again_by_itself(project: Path, person: dict[str, str], tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)  # no socket can lie there
    deep.mkdir(mode=0o700)
    env = {**person, "XDG_RUNTIME_DIR": str(deep)}
    for _ in range(2):
        assert rung("--version", folder=project, env=env).returncode == 0
    wait_for(lambda: "too long" in str(_status(project, env).get("failed")))
    wait_for(lambda: not _hosts(env))
    assert rung("--version", folder=project, env=env).returncode == 0
    assert _hosts(env) == []
    asked = rung("warm", "start", folder=project, env=env)
    assert asked.returncode == 1
    assert "too long" in asked.stderr


def test_commands_that_are_far_apart_start_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    monkeypatch.setattr(warm_start, "spawn", lambda path, *_: started.append(path) or subprocess.Popen(["true"]))
    path = str(tmp_path / "rung" / "warm-1.sock")
    warm_start.for_the_next(path, ["run", "train"])
    long_ago = time.time() - 3600
    os.utime(warm_start.lock_path(path), (long_ago, long_ago))
    warm_start.for_the_next(path, ["run", "train"])
    assert started == []
    warm_start.for_the_next(path, ["up"])
    assert started == []
    warm_start.for_the_next(path, ["run", "train"])
    assert started == [path]


def test_a_folder_that_others_can_enter_starts_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    monkeypatch.setattr(warm_start, "spawn", lambda *_: pytest.fail("somebody else could have put it there"))
    (tmp_path / "rung").mkdir(mode=0o755)
    for _ in range(3):
        warm_start.for_the_next(str(tmp_path / "rung" / "warm-1.sock"), ["run", "train"])
    assert list((tmp_path / "rung").iterdir()) == []


def test_locks_that_nobody_has_used_for_days_are_deleted(tmp_path: Path) -> None:
    path = str(tmp_path / "warm-1.sock")
    for name, days in (("warm-1", 9), ("warm-2", 9), ("warm-3", 1)):
        (tmp_path / f"{name}.lock").touch()
        os.utime(tmp_path / f"{name}.lock", (time.time() - days * 86_400,) * 2)
    warm_start.tidy(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["warm-1.lock", "warm-3.lock"]
