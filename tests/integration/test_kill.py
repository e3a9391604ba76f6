"""kill -9 at random moments of a pipeline run: nothing acknowledged is lost, nothing finished runs twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import load_settings
from rung.pipelines.records import PipelineRunDetail

STEPS = 6
PROJECT = """
import os, time
import rung
from rung import pipeline, step

def say(line):
    with open({marks!r}, "a") as file:
        file.write(line + "\\n")
        file.flush()
        os.fsync(file.fileno())

@step(cache=False)
def work(number: int, before: int) -> int:
    say(f"began {{number}}")
    time.sleep(0.15)
    rung.log_metric(f"m{{number}}", number)
    say(f"logged {{number}}")
    return before + number

@pipeline
def train():
    found = work(0, 0)
    for number in range(1, {steps}):
        found = work(number, found)
    return found
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose steps tell a file what they have done."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "rung.toml").write_text("[engine]\nlease_s = 2.0\n")
    (folder / "pipelines.py").write_text(PROJECT.format(marks=str(tmp_path / "marks"), steps=STEPS))
    (tmp_path / "marks").touch()
    return folder


def _start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rung.cli.main", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # it has ended, and poll() has taken it away
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _look(folder: Path, run: str) -> PipelineRunDetail:
    with Client(local_transport(load_settings(folder, environ={}))) as client:
        return client.pipelines.get(run)


def _logged(marks: Path) -> set[str]:
    return {line.split()[1] for line in marks.read_text().splitlines() if line.startswith("logged")}


def _wait_for(marks: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while marks.read_text().count("began") < count and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_again_and_again_ends_with_every_step_finished_once(project: Path, seed: int) -> None:
    marks, chance = project.parent / "marks", random.Random(seed)
    finished: dict[str, object] = {}
    process = _start(project, "run", "train")
    for _ in range(4):
        _wait_for(marks, marks.read_text().count("began") + chance.randint(1, 2), process)
        time.sleep(chance.uniform(0, 0.25))
        _kill(process)
        detail = _look(project, "train:1")
        held = {step.key: step.ended_at for step in detail.steps if step.status == "succeeded"}
        assert finished.items() <= held.items()  # what was finished stays finished, at the same instant
        finished = held
        if detail.run.status == "succeeded":
            break
        process = _start(project, "run", "--resume", "train:1")
    else:
        output, _ = process.communicate(timeout=180)
        assert process.returncode == 0, output.decode()
    detail = _look(project, "train:1")
    assert detail.run.status == "succeeded"
    assert finished.items() <= {step.key: step.ended_at for step in detail.steps}.items()
    assert all(sum(a.status == "succeeded" for a in detail.attempts if a.step_run == step.id) == 1 for step in detail.steps)
    assert detail.run.outputs[0].inline == str(sum(range(STEPS))).encode()
    with Client(local_transport(load_settings(project, environ={}))) as client:
        metrics = client.tracking.get(str(detail.run.run_id)).metrics
        assert {f"m{number}" for number in _logged(marks)} <= set(metrics)
        assert client.governance.verify_audit().intact


def test_another_worker_takes_up_what_a_killed_one_held(project: Path) -> None:
    marks, go, code = project.parent / "marks", project.parent / "go", project / "pipelines.py"
    held_up = f"time.sleep(0.15 if number != 2 or os.path.exists({str(go)!r}) else 600)"
    code.write_text(code.read_text().replace("time.sleep(0.15)", held_up))
    _start(project, "pipeline", "list").communicate(timeout=180)
    queued, _ = _start(project, "run", "train", "--detach", "--json").communicate(timeout=180)
    run = json.loads(queued)["run"]["id"]
    first = _start(project, "worker")
    _wait_for(marks, 3, first)
    _kill(first)
    go.touch()
    finished = {step.key: step.ended_at for step in _look(project, run).steps if step.status == "succeeded"}
    assert finished
    second = _start(project, "worker", "--once")
    output, _ = second.communicate(timeout=180)
    assert second.returncode == 0, output.decode()
    detail = _look(project, run)
    assert detail.run.status == "succeeded"
    assert finished.items() <= {step.key: step.ended_at for step in detail.steps}.items()
    assert "lost" in {attempt.status for attempt in detail.attempts}
