"""Every executor keeps the same promises: outcomes, crashes, time limits, logs; cancelling where it says it can."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rung.core.ids import new_id
from rung.engine.executors import EXECUTORS, Executor, Task
from rung.engine.executors.family import Piece, value_of
from rung.pipelines.context import StepContext, current_step
from rung.pipelines.materialisers import materialise
from rung.pipelines.records import Artifact
from rung.storage.blobs import BlobStore, open_blobs


def double(x: int) -> int:
    print("doubling", x)
    return 2 * x


def pair(x: int) -> tuple[int, str]:
    return x, str(x)


def crash() -> None:
    raise ValueError("no such row")


def context() -> list[Any]:
    found = current_step.get()
    return [found.run_id, found.seed, found.step] if found else []


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return 1


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def unserialisable() -> Any:
    return lambda: 1


def leave() -> None:
    sys.exit(3)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blobs(f"file://{tmp_path / 'blobs'}")


@pytest.fixture(params=EXECUTORS.names())
def executor(request: pytest.FixtureRequest, blobs: BlobStore) -> Iterator[Executor]:
    made = EXECUTORS.get(request.param)(blobs, 2)
    yield made
    made.close()


def _task(
    tmp_path: Path, function: Any, *, outputs: tuple[str, ...] = ("output",), timeout_s: float | None = None, **arguments: Any
) -> Task:
    return Task(
        id=new_id(),
        step=function.__name__,
        target=f"{__name__}:{function.__name__}",
        outputs=outputs,
        arguments=arguments,
        function=function,
        context=StepContext(pipeline="p", pipeline_run="0" * 32, step="s", attempt=1, seed=7, run_id="1" * 32),
        log=tmp_path / "logs" / "step.log",
        scratch=tmp_path / "scratch",
        timeout_s=timeout_s,
        folder=Path(__file__).parents[__name__.count(".")],
        environ={"RUNG_STORAGE_BLOBS": f"file://{tmp_path / 'blobs'}"},
    )


def _piece(value: Any) -> Piece:
    kind, payload = materialise(value, where="")
    assert isinstance(payload.data, bytes)
    return Piece((Artifact(name="x", kind=kind, digest="", size_bytes=0, meta=payload.meta, inline=payload.data),))


def test_a_step_is_called_with_fresh_values_and_its_output_kept(executor: Executor, blobs: BlobStore, tmp_path: Path) -> None:
    outcome = executor.submit(_task(tmp_path, double, x=_piece(21))).result(timeout=60)
    assert (outcome.status, value_of(outcome.outputs[0], blobs, tmp_path)) == ("succeeded", 42)
    assert outcome.wall_s > 0


def test_several_outputs_are_kept_apart(executor: Executor, blobs: BlobStore, tmp_path: Path) -> None:
    outcome = executor.submit(_task(tmp_path, pair, outputs=("output_0", "output_1"), x=3)).result(timeout=60)
    assert [value_of(artifact, blobs, tmp_path) for artifact in outcome.outputs] == [3, "3"]


def test_an_exception_is_an_outcome_with_its_text_and_a_traceback_in_the_log(executor: Executor, tmp_path: Path) -> None:
    task = _task(tmp_path, crash)
    outcome = executor.submit(task).result(timeout=60)
    assert (outcome.status, outcome.error) == ("failed", "Step 'crash' failed: ValueError: no such row")
    assert "Traceback" in task.log.read_text()


def test_an_exit_is_a_failure_and_ends_nothing_else(executor: Executor, tmp_path: Path) -> None:
    assert executor.submit(_task(tmp_path, leave)).result(timeout=60).status == "failed"


def test_what_cannot_be_kept_is_a_failure_that_names_the_type(executor: Executor, tmp_path: Path) -> None:
    assert "builtins.function" in executor.submit(_task(tmp_path, unserialisable)).result(timeout=60).error


def test_the_step_knows_its_run_and_seed(executor: Executor, blobs: BlobStore, tmp_path: Path) -> None:
    outcome = executor.submit(_task(tmp_path, context)).result(timeout=60)
    assert value_of(outcome.outputs[0], blobs, tmp_path)[:2] == ["1" * 32, 7]


def test_output_goes_to_the_log(executor: Executor, tmp_path: Path) -> None:
    task = _task(tmp_path, double, x=4)
    executor.submit(task).result(timeout=60)
    assert "doubling 4" in task.log.read_text()


def test_an_executor_that_can_stop_stops_on_request(executor: Executor, tmp_path: Path) -> None:
    if not executor.can_stop:
        pytest.skip("threads cannot be stopped; such steps run in the process executor")
    task = _task(tmp_path, sleep, seconds=60.0)
    future = executor.submit(task)
    time.sleep(1.0)
    executor.cancel(task.id)
    assert future.result(timeout=10).status == "cancelled"


def test_an_executor_that_can_stop_ends_a_step_at_its_limit(executor: Executor, tmp_path: Path) -> None:
    if not executor.can_stop:
        pytest.skip("threads cannot be stopped; such steps run in the process executor")
    outcome = executor.submit(_task(tmp_path, sleep, timeout_s=1.0, seconds=60.0)).result(timeout=20)
    assert (outcome.status, outcome.error) == ("timed_out", "Step 'sleep' took longer than 1 s.")


def test_a_killed_process_is_lost_and_says_how(executor: Executor, tmp_path: Path) -> None:
    if not executor.can_stop:
        pytest.skip("it would kill the tests")
    outcome = executor.submit(_task(tmp_path, die)).result(timeout=60)
    assert (outcome.status, "SIGKILL" in outcome.error) == ("lost", True)
