"""Brief steps share tasks of Ray: each runs once, one that is slow holds up nobody, one that kills its worker fails alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from rung.core.ids import new_id
from rung.engine.executors import EXECUTORS, Executor, Outcome, Task
from rung.pipelines.context import StepContext
from rung.storage.blobs import open_blobs

pytest.importorskip("ray")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("ray")]  # Ray's own warnings when it starts


def noted(marks: str, name: str, seconds: float = 0.0, kill: str = "") -> str:
    """The step: says that it began, takes as long as it is told, and may kill its worker, once."""
    with open(marks, "a") as file:
        file.write(f"{name}\n")
    if kill and not Path(kill).exists():
        Path(kill).touch()
        os.kill(os.getpid(), 9)
    time.sleep(seconds)
    return name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for logs, blobs and marks."""
    place = tmp_path_factory.mktemp("shared")
    (place / "logs").mkdir()
    return place


@pytest.fixture(scope="module")
def executor(folder: Path) -> Iterator[Executor]:
    """An executor that knows already that the step is brief."""
    held = EXECUTORS.get("ray")(open_blobs(f"file://{folder / 'blobs'}"), 2)
    for number in range(4):
        assert _submitted(held, folder, f"first {number}").result(timeout=120).status == "succeeded"
    yield held
    held.close()


def _submitted(held: Executor, folder: Path, name: str, *, seconds: float = 0.0, kill: str = "") -> Future[Outcome]:
    task = Task(
        id=new_id(), step="noted", target="tests.integration.test_ray_shared:noted", outputs=("output",),
        arguments={"marks": str(folder / "marks"), "name": name, "seconds": seconds, "kill": kill},
        context=StepContext(pipeline="p", pipeline_run="0" * 32, step="s", attempt=1, seed=7), log=folder / "logs" / name,
        scratch=folder / "scratch", folder=Path(__file__).parents[2], environ={"RUNG_STORAGE_BLOBS": f"file://{folder / 'blobs'}"},
    )  # fmt: skip
    return held.submit(task)


def test_each_of_many_brief_steps_runs_once_and_answers_for_itself(executor: Executor, folder: Path) -> None:
    running = {f"brief {number}": _submitted(executor, folder, f"brief {number}") for number in range(150)}
    found = {name: future.result(timeout=120) for name, future in running.items()}
    assert {name for name, outcome in found.items() if outcome.outputs[0].inline == f'"{name}"'.encode()} == set(running)
    begun = [line for line in (folder / "marks").read_text().splitlines() if line.startswith("brief")]
    assert sorted(begun) == sorted(running)


def test_those_that_wait_behind_a_slow_one_are_sent_back_and_run_once(executor: Executor, folder: Path) -> None:
    names = [f"mixed {number}" for number in range(40)]
    running = [_submitted(executor, folder, name, seconds=0.3 if place % 10 == 5 else 0.0) for place, name in enumerate(names)]
    assert {future.result(timeout=120).status for future in running} == {"succeeded"}
    begun = [line for line in (folder / "marks").read_text().splitlines() if line.startswith("mixed")]
    assert sorted(begun) == sorted(names)


def test_those_that_were_lost_with_another_are_blameless(executor: Executor, folder: Path) -> None:
    running = [_submitted(executor, folder, f"killed {place}", kill=str(folder / "killed") if place == 20 else "") for place in range(40)]
    ended = [future.result(timeout=120) for future in running]
    assert {outcome.status for outcome in ended} == {"succeeded", "lost"}
    assert all(outcome.blameless for outcome in ended if outcome.status == "lost")
    assert _submitted(executor, folder, "after").result(timeout=120).status == "succeeded"
