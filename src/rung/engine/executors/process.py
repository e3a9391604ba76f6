"""Steps in a fresh interpreter each, of this Python or of an environment built by uv from the step's own lock."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rung.engine.executors.family import EXECUTORS, Task
from rung.engine.workers.crew import Crew
from rung.engine.workers.holding import Held
from rung.pipelines.building import Built, uv_environment


@EXECUTORS.member("process")
class Process(Crew):
    """The executor of one interpreter a step."""

    def _lent(self, task: Task, output: int) -> Held:
        return started(self, task, output, reused=False, built=environment_of(task))


def environment_of(task: Task) -> Built | None:
    """The environment of a task's lock, built where it is not there; None where it runs by this Python."""
    return None if task.environment is None else uv_environment(task.environment, home=_home(task))


def started(crew: Crew, task: Task, output: int, *, reused: bool, built: Built | None = None, place: str = "") -> Held:
    """A fresh interpreter that waits for an errand, its output in the log from the first import on.

    Args:
        built: its environment. place: among which it waits when it is ``reused``; by default those of the same code.
    """
    # sets have one order in every process of a step, so that a repetition has it too
    python, environ = sys.executable, {**os.environ, "PYTHONHASHSEED": "0"}
    if built is not None:
        python = str(built.python)
        for name in ("PYTHONHOME", "PYTHONPATH"):
            environ.pop(name, None)
        environ["VIRTUAL_ENV"] = str(built.folder)
        environ["PATH"] = f"{built.python.parent}{os.pathsep}{environ.get('PATH', '')}"
    environ |= task.environ
    code = str(task.code or task.folder or Path.cwd())
    return crew.keeping.orders.start(
        [python, "-P", "-m", "rung.engine.child", "{fd}", *(["reused"] if reused else [])],
        environ=environ, cwd=str(task.folder or ""), log=output, code=place or code,
    )  # fmt: skip


def _home(task: Task) -> Path:
    return Path(task.environ.get("RUNG_HOME") or Path.home() / ".cache" / "rung")
