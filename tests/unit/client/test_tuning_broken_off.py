"""Trials that end, or whose process ends, in the moment in which nobody listens."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from multiprocessing.connection import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rung.client.tuning import crews
from rung.client.tuning import records as r
from rung.client.tuning.command import Command
from rung.client.tuning.crews import Inline
from rung.client.tuning.folder import Folder
from rung.client.tuning.processes import Processes, Worker, received
from rung.core.errors import Unavailable
from rung.core.ids import new_id
from rung.core.records import replaced

ASKED = r.Asked(number=3, labels={}, run=new_id(), seed=1)
ENDED = r.Outcome(number=3, run=ASKED.run, state="succeeded", values=(0.5,))


def plan() -> r.Plan:
    return r.Plan(
        id=new_id(), experiment="e", name="", metrics=("loss",), directions=("minimize",), space={}, sampler="random", pruner="none",
        prunes=False, seed=1, created_at=datetime.now(UTC),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "sweeps" / "one")
    made.create(plan())
    return made


def test_a_trial_that_had_ended_when_its_run_s_closing_was_interrupted_counts(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> r.Outcome:
        folder.keep(ENDED)
        raise KeyboardInterrupt

    monkeypatch.setattr(crews, "execute", interrupted)
    work: Any = SimpleNamespace(plan=None, ledger=SimpleNamespace(space={}), folder=folder, objective=None, client=None)
    crew = Inline(work)
    with pytest.raises(KeyboardInterrupt):
        crew.begin(ASKED)
    assert crew.stop(cancel=True) == [replaced(ENDED, left_open=True)]
    folder.forget(ASKED.number)
    assert [outcome.state for outcome in crew.stop(cancel=True)] == ["cancelled"], "of one that had not ended nothing is kept"


def test_a_trial_that_a_worker_had_ended_before_it_was_interrupted_counts(folder: Folder) -> None:
    line, theirs = Pipe()
    theirs.close()  # it ended without a word
    worker: Any = SimpleNamespace(
        asked=ASKED, line=line, process=SimpleNamespace(send_signal=lambda _: None), close=lambda: folder.keep(ENDED), send=lambda _: None
    )
    crew = Processes.__new__(Processes)
    crew._work, crew._workers = SimpleNamespace(folder=folder), [worker]  # type: ignore[assignment]
    assert crew.stop(cancel=True) == [replaced(ENDED, left_open=True)]
    line.close()


def test_a_worker_that_dies_before_it_has_its_task_is_noticed_when_it_is_listened_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying(subprocess.Popen[bytes]):
        def __init__(self, _: list[str], **options: Any) -> None:
            super().__init__(["true"], **options)
            self.wait()

    monkeypatch.setattr(subprocess, "Popen", Dying)
    with (tmp_path / "lock").open("w") as lock:
        worker = Worker(r.Task(plan=plan(), folder=str(tmp_path), path=(), worker=0), dict(os.environ), lock.fileno())
    with pytest.raises((EOFError, OSError)):
        received(worker.line)
    assert worker.close() == 0


def test_the_last_look_at_what_a_command_logged_is_a_patient_one() -> None:
    """A platform that stands still for some seconds must not make a trial fail whose command has succeeded."""
    point = SimpleNamespace(value=0.5, step=1)

    def flush(patience_s: float) -> None:
        if patience_s < 10:
            raise Unavailable("It stands still.", code="test.stalled")

    tracking = SimpleNamespace(
        get=lambda *_, **__: SimpleNamespace(latest={"loss": point}), history=lambda *_, **__: SimpleNamespace(points=[point])
    )
    run = SimpleNamespace(
        offline=False, id=new_id(), flush=flush, client=SimpleNamespace(tracking=tracking, transport=None), log_artifact=lambda *_: None
    )
    heard: dict[str, tuple[float, int]] = {}
    trial: Any = SimpleNamespace(
        run=run, params={}, number=0, seed=1, last=heard, hear=lambda name, value, step: heard.update({name: (value, step)}),
        should_prune=lambda: False,
    )  # fmt: skip
    Command(("true",), ("loss",))(trial)
    assert heard == {"loss": (0.5, 1)}
