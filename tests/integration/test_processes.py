"""Processes of steps: none outlives its engine, they are reused while the project stays as it is, and are its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from rung.core.ids import new_id
from rung.engine.executors import EXECUTORS, Executor, Task
from rung.engine.executors.family import value_of
from rung.pipelines.context import StepContext
from rung.storage.blobs import BlobStore, open_blobs
from tests.processes import is_alive
from tests.unit.pipelines.wheels import wheel

MODULE = """
import os, subprocess, time
VERSION = {version}

def version() -> list[int]:
    return [VERSION, os.getpid(), os.getppid()]

def rate() -> list[int]:
    try:
        import tiny
    except ModuleNotFoundError:
        return [0, os.getpid()]
    return [tiny.RATE, os.getpid()]

def grow(megabytes: int) -> int:
    global held
    held = bytearray(megabytes << 20)
    return os.getpid()

def wait(marks: str) -> int:
    child = subprocess.Popen(["setsid", "sleep", "300"])
    with open(marks, "w") as file:
        file.write(f"{{os.getpid()}} {{child.pid}}\\n")
    time.sleep(300)
    return 0

def hash_seed() -> list[str]:
    return [os.environ.get("PYTHONHASHSEED", ""), str(os.getpid())]
"""
ENGINE = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.integration.test_processes import task_of
from rung.engine.executors import EXECUTORS
from rung.storage.blobs import open_blobs
executor = EXECUTORS.get(sys.argv[1])(open_blobs("file://" + sys.argv[2] + "/blobs"), 2)
executor.submit(task_of(Path(sys.argv[2]), "wait", marks=sys.argv[2] + "/marks")).result()
"""


def task_of(folder: Path, function: str, environ: dict[str, str] | None = None, **arguments: Any) -> Task:
    """The task of a function of the module in a folder."""
    context = StepContext(pipeline="p", pipeline_run="0" * 32, step="s", attempt=1, seed=7)
    variables = {"RUNG_STORAGE_BLOBS": f"file://{folder / 'blobs'}", **(environ or {})}
    return Task(
        id=new_id(), step=function, target=f"steps_here:{function}", outputs=("output",), arguments=arguments, context=context,
        log=folder / "log", scratch=folder / "scratch", folder=folder, environ=variables,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "steps_here.py").write_text(MODULE.format(version=1))
    return tmp_path


@pytest.fixture
def blobs(folder: Path) -> BlobStore:
    return open_blobs(f"file://{folder / 'blobs'}")


@pytest.fixture
def pool(blobs: BlobStore) -> Iterator[Executor]:
    made = EXECUTORS.get("pool")(blobs, 2)
    yield made
    made.close()


def _answer(executor: Executor, task: Task, blobs: BlobStore) -> Any:
    outcome = executor.submit(task).result(timeout=60)
    assert outcome.status == "succeeded", outcome.error
    return value_of(outcome.outputs[0], blobs, task.scratch)


@pytest.mark.parametrize("name", ["pool", "process"])
def test_no_process_of_a_step_outlives_a_killed_engine(folder: Path, name: str) -> None:
    code = ENGINE.format(root=str(Path(__file__).parents[2]))
    engine = subprocess.Popen([sys.executable, "-c", code, name, str(folder)], start_new_session=True)
    until = time.monotonic() + 60
    while not ((folder / "marks").is_file() and (folder / "marks").read_text().endswith("\n")) and time.monotonic() < until:
        time.sleep(0.02)
    pids = [int(part) for part in (folder / "marks").read_text().split()]
    assert all(map(is_alive, pids))
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    until = time.monotonic() + 60
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(is_alive, pids))


def test_a_process_is_used_again_until_the_project_changes(pool: Executor, folder: Path, blobs: BlobStore) -> None:
    first, again = (_answer(pool, task_of(folder, "version"), blobs) for _ in range(2))
    assert first == again
    (folder / "steps_here.py").write_text(MODULE.format(version=22))
    later = _answer(pool, task_of(folder, "version"), blobs)
    assert (later[0], later[1] != first[1], later[2] != first[2]) == (22, True, True)


def test_code_of_a_run_that_began_before_a_change_is_kept_apart(pool: Executor, folder: Path, blobs: BlobStore) -> None:
    kept = folder / "scratch" / "code"
    kept.mkdir(parents=True)
    (kept / "steps_here.py").write_text(MODULE.format(version=333))
    assert _answer(pool, replace(task_of(folder, "version"), code=kept), blobs)[0] == 333
    assert _answer(pool, task_of(folder, "version"), blobs)[0] == 1


def test_processes_of_an_environment_are_used_again_by_its_steps_only(pool: Executor, folder: Path, blobs: BlobStore) -> None:
    rates = {}
    for rate in (2, 3):
        file = wheel(folder / "wheels" / str(rate), "tiny", f"{rate}.0", {"tiny.py": f"RATE = {rate}\n"})
        rates[rate] = folder / f"{rate}.txt"
        rates[rate].write_text(f"tiny @ file://{file}\n")
    first, again = (_answer(pool, replace(task_of(folder, "rate"), environment=rates[2]), blobs) for _ in range(2))
    assert first == again
    assert first[0] == 2
    other = _answer(pool, replace(task_of(folder, "rate"), environment=rates[3]), blobs)
    assert (other[0], other[1] != first[1]) == (3, True)
    assert _answer(pool, task_of(folder, "rate"), blobs)[0] == 0
    assert _answer(pool, replace(task_of(folder, "rate"), environment=rates[2]), blobs) == first


def test_only_the_newest_states_of_a_project_are_held_ready(folder: Path, blobs: BlobStore) -> None:
    from rung.engine.executors.pool import _ZYGOTES, Pool

    pool = Pool(blobs, 1)
    try:
        for version in range(_ZYGOTES + 2):
            kept = folder / "states" / str(version)
            kept.mkdir(parents=True)
            (kept / "steps_here.py").write_text(MODULE.format(version=version))
            assert _answer(pool, replace(task_of(folder, "version"), code=kept), blobs)[0] == version
        assert len(pool._zygotes) == _ZYGOTES
        assert sum(map(len, pool._idle.values())) <= 2
        assert _answer(pool, replace(task_of(folder, "version"), code=folder / "states" / "0"), blobs)[0] == 0
    finally:
        pool.close()


def test_a_process_that_keeps_much_memory_is_not_used_again(pool: Executor, folder: Path, blobs: BlobStore) -> None:
    grown = _answer(pool, task_of(folder, "grow", megabytes=400), blobs)
    assert _answer(pool, task_of(folder, "version"), blobs)[1] != grown


def test_variables_that_are_read_at_the_start_get_an_interpreter_of_their_own(pool: Executor, folder: Path, blobs: BlobStore) -> None:
    first, again = (_answer(pool, task_of(folder, "hash_seed", {"PYTHONHASHSEED": "41"}), blobs) for _ in range(2))
    other = _answer(pool, task_of(folder, "hash_seed", {"PYTHONHASHSEED": "42"}), blobs)
    forked = _answer(pool, task_of(folder, "hash_seed"), blobs)
    assert [first[0], other[0], forked[0]] == ["41", "42", "0"]
    assert first == again
    assert len({first[1], other[1], forked[1]}) == 3


def test_a_closed_executor_leaves_no_thread_and_no_process(folder: Path, blobs: BlobStore) -> None:
    from rung.engine.workers.keeper import children_of

    # Sets, not counts: a thread that an earlier test left ending may end in the middle of this one.
    threads, children = set(threading.enumerate()), set(children_of(os.getpid()))
    for name in ("inline", "pool", "process"):
        made = EXECUTORS.get(name)(blobs, 2)
        if name != "inline":
            _answer(made, task_of(folder, "version"), blobs)
        made.close()
    assert set(threading.enumerate()) <= threads
    assert set(children_of(os.getpid())) <= children
