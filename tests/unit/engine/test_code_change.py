"""Code that changes while a run is under way: the run keeps the code it began with, a resumed one says which it went on with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import load_settings
from rung.engine.loop import Engine
from rung.pipelines.project import forget_modules
from rung.pipelines.records import StepRun
from rung.pipelines.store import RUN, STEP

PROJECT = """
from pathlib import Path
from rung import pipeline, step
import rates

@step(cache=False)
def first() -> str:
    return rates.WORD

@step(cache=False, executor="process")
def second(before: str) -> str:
    return before + " " + rates.WORD

@step(cache=False)
def gate(before: str) -> str:
    if not Path({gate!r}).exists():
        raise ValueError("closed")
    return before + " " + rates.WORD

@pipeline
def words():
    return gate(second(first()))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A project whose steps tell which code they are."""
    place = tmp_path / "project"
    place.mkdir()
    (place / "rung.toml").write_text('project = "default"\n')
    (place / "pipelines.py").write_text(PROJECT.format(gate=str(tmp_path / "gate")))
    (place / "rates.py").write_text('WORD = "old"\n')
    yield place
    forget_modules(place)
    for name in ("pipelines", "rates"):
        sys.modules.pop(name, None)
    sys.path[:] = [path for path in sys.path if path != str(place)]


def test_steps_in_other_processes_keep_the_code_the_run_began_with(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()

    def edit(row: StepRun) -> None:
        if row.key == "first" and row.status == "running":
            (folder / "rates.py").write_text('WORD = "newer"\n')

    with Client(local_transport(load_settings(folder, environ={}))) as client:
        run = client.pipelines.run("words", listener=edit)
        assert (run.error, client.pipelines.output(run.id)) == ("", "old old old")
        later = client.pipelines.run("words")
        assert client.pipelines.output(later.id) == "newer newer newer"


def test_a_resumed_run_says_which_code_it_went_on_with(folder: Path, tmp_path: Path) -> None:
    with Client(local_transport(load_settings(folder, environ={}))) as client:
        run = client.pipelines.run("words")
        assert run.status == "failed"
        (tmp_path / "gate").touch()
        (folder / "rates.py").write_text('WORD = "newer"\n')
        again = client.pipelines.resume(run.id)
        assert again.status == "succeeded"
        assert again.notes == (f"Resumed with the code of now, {again.code}; it began with {run.code}.",)
        assert client.pipelines.output(again.id) == "newer newer newer"


def test_a_run_taken_over_from_a_dead_worker_goes_on_with_the_code_it_began_with(folder: Path, tmp_path: Path) -> None:
    with Client(local_transport(load_settings(folder, environ={}))) as client:
        run = client.pipelines.run("words")
        (tmp_path / "gate").touch()
        client.pipelines.resume(run.id, wait=False)
        platform = client.transport.platform  # type: ignore[attr-defined]

        def as_if_its_worker_had_died(connection: object) -> None:
            connection.execute(RUN.update().values(status="running"))  # type: ignore[attr-defined]
            connection.execute(STEP.update().where(STEP.c.key == "gate").values(status="running"))  # type: ignore[attr-defined]

        platform.database.write(as_if_its_worker_had_died)
        (folder / "rates.py").write_text('WORD = "newer"\n')
        engine = Engine(platform)
        engine.run_until_idle()
        engine.stop()
        ended = client.pipelines.get(run.id).run
        assert (ended.status, ended.error) == ("succeeded", "")
        assert client.pipelines.output(run.id) == "old old old"
        assert ended.notes == (f"Went on with the code it began with, {run.code}, though the project has changed.",)
        assert ended.code == run.code
