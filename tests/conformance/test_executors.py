"""Every executor keeps the same promises: outcomes, crashes, limits, logs, and nothing left over from a bad step."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rung.core.ids import new_id
from rung.core.settings import EngineSettings, Settings
from rung.engine.executors import EXECUTORS, Executor, Task
from rung.engine.executors.family import Piece, value_of
from rung.engine.logs import LARGEST
from rung.pipelines.context import StepContext
from rung.pipelines.materialisers import materialise
from rung.pipelines.records import Artifact
from rung.storage.blobs import BlobStore, open_blobs
from tests.conformance import executor_steps as steps
from tests.conformance.fake_kubernetes import fake_kubernetes
from tests.processes import is_alive

ROOT = Path(__file__).parents[2]
NEEDS = {"ray": "ray", "dask": "distributed"}
WARM_S = 150
pytestmark = pytest.mark.filterwarnings("ignore")  # what Ray and Dask warn of when they start is not ours to mend


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> BlobStore:
    return open_blobs(f"file://{tmp_path_factory.mktemp('blobs')}")


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(f"executor-{name}")) for name in EXECUTORS.names()]
)
def executor(request: pytest.FixtureRequest, blobs: BlobStore) -> Iterator[Executor]:
    pytest.importorskip(NEEDS.get(request.param, "rung"))
    with ExitStack() as stack:
        engine = EngineSettings()
        if request.param == "kubernetes":
            address, _ = stack.enter_context(fake_kubernetes())
            engine = EngineSettings(kubernetes_url=address, kubernetes_image="registry.example/steps:1")
        made = EXECUTORS.get(request.param)(blobs, 2, Settings(engine=engine))
        if request.param == "kubernetes":
            made._poll_s = 0.1
        yield made
        made.close()


@pytest.fixture
def stopping(executor: Executor) -> Executor:
    """An executor whose steps have processes of their own."""
    if not executor.can_stop:
        pytest.skip("threads cannot be stopped, nor kept apart: such steps run in the pool")
    return executor


@pytest.fixture
def make(tmp_path: Path, blobs: BlobStore) -> Any:
    """Makes the task of a step."""

    def made(function: Any, *, outputs: tuple[str, ...] = ("output",), environ: dict[str, str] | None = None, **given: Any) -> Task:
        options = {
            name: given.pop(name) for name in list(given) if name in {"timeout_s", "memory_bytes", "items", "seeds", "secrets", "audit"}
        }
        return Task(
            id=new_id(), step=function.__name__, target=f"{steps.__name__}:{function.__name__}", outputs=outputs, arguments=given,
            function=function, context=StepContext(pipeline="p", pipeline_run="0" * 32, step="s", attempt=1, seed=7, run_id="1" * 32),
            log=tmp_path / "logs" / "step.log", scratch=tmp_path / "scratch", folder=ROOT,
            environ={"RUNG_STORAGE_BLOBS": f"file://{blobs.root}", "RUNG_HOME": str(tmp_path / "home"), **(environ or {})}, **options,
        )  # fmt: skip

    (tmp_path / "logs").mkdir()
    return made


def _run(executor: Executor, task: Task) -> Any:
    return executor.submit(task).result(timeout=WARM_S)


def _value(executor: Executor, task: Task, blobs: BlobStore) -> Any:
    outcome = _run(executor, task)
    assert outcome.status == "succeeded", outcome.error
    return value_of(outcome.outputs[0], blobs, task.scratch)


def _piece(value: Any) -> Piece:
    kind, payload = materialise(value, where="")
    assert isinstance(payload.data, bytes)
    return Piece((Artifact(name="x", kind=kind, digest="", size_bytes=0, meta=payload.meta, inline=payload.data),))


def _all_gone(pids: list[int], within_s: float = 60.0) -> bool:
    until = time.monotonic() + within_s
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(is_alive, pids))


def _times(executor: Executor) -> int:
    """How often a test goes on: processes that are used again must stand it more than once."""
    return 3 if type(executor).__name__ in {"Pool", "Dask", "Ray"} else 1


def test_a_step_is_called_with_fresh_values_and_its_output_kept(executor: Executor, blobs: BlobStore, make: Any) -> None:
    task = make(steps.double, x=_piece(21))
    outcome = _run(executor, task)
    assert (outcome.status, value_of(outcome.outputs[0], blobs, task.scratch)) == ("succeeded", 42)
    assert outcome.wall_s > 0


def test_several_outputs_are_kept_apart(executor: Executor, blobs: BlobStore, make: Any) -> None:
    outcome = _run(executor, make(steps.pair, outputs=("output_0", "output_1"), x=3))
    assert [value_of(artifact, blobs, Path()) for artifact in outcome.outputs] == [3, "3"]


def test_an_exception_is_an_outcome_with_its_classes_and_a_traceback_in_the_log(executor: Executor, make: Any) -> None:
    task = make(steps.crash)
    outcome = _run(executor, task)
    assert (outcome.status, outcome.error) == ("failed", "Step 'crash' failed: NoSuchRowError: no such row")
    assert outcome.error_types == (
        f"{steps.__name__}.NoSuchRowError",
        "builtins.LookupError",
        "builtins.Exception",
        "builtins.BaseException",
    )
    assert "Traceback" in task.log.read_text()


@pytest.mark.parametrize("function", [steps.alarm, steps.interrupt, steps.leave])
def test_what_is_no_exception_is_a_failure_too_and_ends_nothing_else(
    executor: Executor, make: Any, blobs: BlobStore, function: Any
) -> None:
    outcome = _run(executor, make(function))
    assert (outcome.status, outcome.error_types[-1]) == ("failed", "builtins.BaseException")
    assert _value(executor, make(steps.double, x=1), blobs) == 2


def test_what_cannot_be_kept_is_a_failure_that_names_the_type(executor: Executor, make: Any) -> None:
    assert "builtins.function" in _run(executor, make(steps.unserialisable)).error


def test_a_value_of_another_type_than_annotated_is_a_failure(executor: Executor, make: Any) -> None:
    outcome = _run(executor, make(steps.wrong_type))
    assert outcome.status == "failed"
    assert "annotated as int, but got str" in outcome.error


def test_the_step_knows_its_run_and_seed(executor: Executor, blobs: BlobStore, make: Any) -> None:
    assert _value(executor, make(steps.context), blobs)[:2] == ["1" * 32, 7]


def test_output_goes_to_the_log(executor: Executor, make: Any) -> None:
    task = make(steps.double, x=4)
    _run(executor, task)
    assert "doubling 4" in task.log.read_text()


def test_a_log_can_be_read_while_the_step_runs(executor: Executor, make: Any, tmp_path: Path, blobs: BlobStore) -> None:
    task = make(steps.greet, path=str(tmp_path / "heard"))
    future = executor.submit(task)
    until = time.monotonic() + 60
    while not (task.log.is_file() and "I have begun" in task.log.read_text()) and time.monotonic() < until:
        time.sleep(0.02)
    (tmp_path / "heard").touch()
    assert value_of(future.result(timeout=WARM_S).outputs[0], blobs, tmp_path) == 1
    assert time.monotonic() < until


def test_a_batch_runs_to_its_end_and_each_item_ends_on_its_own(executor: Executor, blobs: BlobStore, make: Any) -> None:
    items, seeds = tuple({"x": x} for x in (1, 2, 3)), (11, 12, 13)
    outcome = _run(executor, make(steps.picky, items=items, seeds=seeds, fixed=_piece([0])))
    assert (outcome.status, [item.status for item in outcome.items]) == ("succeeded", ["succeeded", "failed", "succeeded"])
    assert outcome.items[1].error == "Step 'picky' failed: NoSuchRowError: no row 2"
    assert outcome.items[1].error_types[0].endswith("NoSuchRowError")
    first, third = (value_of(outcome.items[place].outputs[0], blobs, Path()) for place in (0, 2))
    assert (first[:3], third[:3]) == ([1, [0, 1], 11], [3, [0, 3], 13])
    alone = _run(executor, make(steps.picky, items=items[2:], seeds=seeds[2:], fixed=_piece([0])))
    assert value_of(alone.items[0].outputs[0], blobs, Path())[3] == third[3]  # what an item draws does not depend on its batch


def test_the_peak_of_memory_is_told(stopping: Executor, make: Any) -> None:
    # 200 MiB are touched, so a peak below would be wrong; a tenth more than a GiB would be somebody else's
    assert 200 << 20 < _run(stopping, make(steps.fill, megabytes=200)).peak_bytes < 1100 << 20


def test_variables_of_the_task_reach_the_step(stopping: Executor, blobs: BlobStore, make: Any) -> None:
    task = make(steps.variables, environ={"CUDA_VISIBLE_DEVICES": "3"}, name="CUDA_VISIBLE_DEVICES")
    assert _value(stopping, task, blobs) == "3"
    assert _value(stopping, make(steps.variables, name="CUDA_VISIBLE_DEVICES"), blobs) != "3"


def test_secrets_are_not_in_the_log_even_when_they_are_written_in_parts(
    executor: Executor, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNG_SECRET_TOKEN", "hunter2-and-more")
    task = make(steps.whisper, secrets=("TOKEN",), secret="hunter2-and-more")
    assert _run(executor, task).status == "succeeded"
    assert task.log.read_text() == "********\nall of ******** at once\n"


def test_an_audit_names_files_that_were_read_undeclared(executor: Executor, make: Any) -> None:
    outcome = _run(executor, make(steps.read_file, audit=True, path=str(ROOT / "NOTICE")))
    assert "file NOTICE" in outcome.undeclared


def test_binary_and_endless_output_is_kept_as_it_is_up_to_a_limit(executor: Executor, make: Any) -> None:
    task = make(steps.say_much, megabytes=100)
    assert _run(executor, task).status == "succeeded"
    with task.log.open("rb") as log:
        assert log.readline() == b"\xff\xfe\x00binary\n"
    assert LARGEST <= task.log.stat().st_size <= LARGEST + 100
    task.log.unlink()


def test_cancelling_ends_a_step(stopping: Executor, make: Any) -> None:
    task = make(steps.sleep, seconds=60.0)
    future = stopping.submit(task)
    time.sleep(1.0)
    stopping.cancel(task.id)
    assert future.result(timeout=WARM_S).status == "cancelled"


@pytest.mark.parametrize("function", [steps.deadlock, steps.deaf])
def test_a_step_ends_at_its_limit_of_time(stopping: Executor, make: Any, function: Any) -> None:
    given = {"seconds": 60.0} if function is steps.deaf else {}
    outcome = stopping.submit(make(function, timeout_s=1.0, **given)).result(timeout=WARM_S)
    assert (outcome.status, outcome.error) == ("timed_out", f"Step {function.__name__!r} took longer than 1 s.")


@pytest.mark.parametrize("function", [steps.fill, steps.fill_in_child])
def test_a_step_ends_at_its_limit_of_memory(stopping: Executor, make: Any, function: Any) -> None:
    outcome = _run(stopping, make(function, memory_bytes=400 << 20, megabytes=3000))
    assert (outcome.status, "builtins.MemoryError" in outcome.error_types) == ("failed", True), outcome.error


def test_a_killed_process_is_lost(stopping: Executor, make: Any, blobs: BlobStore) -> None:
    assert _run(stopping, make(steps.die)).status == "lost"
    assert _value(stopping, make(steps.double, x=1), blobs) == 2


@pytest.mark.parametrize(("function", "said"), [(steps.leave_at_once, "exit code 3"), (steps.fall, "SIGSEGV")])
def test_a_step_that_ends_its_process_fails_alone(stopping: Executor, make: Any, blobs: BlobStore, function: Any, said: str) -> None:
    outcome = _run(stopping, make(function))
    if type(stopping).__name__ == "Ray":  # it does not say how a worker ended
        assert outcome.status == "lost"
    else:
        assert (outcome.status, said in outcome.error) == ("failed", True), outcome.error
    assert _value(stopping, make(steps.double, x=1), blobs) == 2


def test_what_a_step_leaves_running_ends_with_it(stopping: Executor, make: Any, tmp_path: Path) -> None:
    assert _run(stopping, make(steps.linger, pids=str(tmp_path / "pids"))).status == "succeeded"
    assert _all_gone([int(line) for line in (tmp_path / "pids").read_text().split()])


def test_a_step_at_its_limit_ends_with_all_it_has_started(stopping: Executor, make: Any, tmp_path: Path) -> None:
    limit_s = 45.0 if type(stopping).__name__ == "Process" else 25.0  # there it runs from the interpreter's start
    outcome = _run(stopping, make(steps.linger, timeout_s=limit_s, pids=str(tmp_path / "pids"), wait_s=140.0))
    assert outcome.status == "timed_out"
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert _all_gone(pids)


def test_a_step_may_close_its_output(stopping: Executor, make: Any, blobs: BlobStore) -> None:
    for _ in range(_times(stopping)):
        assert _run(stopping, make(steps.close_output)).status == "succeeded"
        task = make(steps.double, x=5)
        assert _value(stopping, task, blobs) == 10
        assert "doubling 5" in task.log.read_text()


def test_what_a_step_does_to_its_process_the_next_one_does_not_see(stopping: Executor, make: Any, blobs: BlobStore, tmp_path: Path) -> None:
    umask = os.umask(0o022)
    os.umask(umask)
    for _ in range(_times(stopping)):
        assert _run(stopping, make(steps.disturb, folder=str(tmp_path))).status == "succeeded"
        task = make(steps.undisturbed)
        assert _value(stopping, task, blobs) == [ROOT.name, False, True, umask, False, True, 0.0]
        assert "still here" in task.log.read_text()


def test_a_process_with_threads_of_an_earlier_step_is_not_used_again(stopping: Executor, make: Any, blobs: BlobStore) -> None:
    if type(stopping).__name__ == "Ray":
        pytest.skip("Ray keeps its workers; steps that leave threads there declare isolated=True")
    left = {_value(stopping, make(steps.leave_thread), blobs) for _ in range(2)}
    assert _value(stopping, make(steps.own_pid), blobs) not in left
