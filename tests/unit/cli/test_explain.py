"""The command line says why steps run, before and after, and shows the cache."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rung.cli.main import cli
from rung.pipelines.project import forget_modules

PROJECT = """
import os
import rung
from rung import pipeline, step

@step
def load(n: int = 3) -> int:
    os.environ.get("HIDDEN")
    return n

@step
def double(x: int) -> int:
    return x * 2

@step(retries=1, backoff="0s", cache=False)
def stutter(x: int) -> int:
    if rung.context().attempt == 1:
        raise TimeoutError("the warehouse is asleep")
    return x

@pipeline
def train(n: int = 3):
    return double(load(n))

@pipeline
def patient(n: int = 3):
    return stutter(load(n))
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``rung`` in a project folder."""
    place = tmp_path / "project"
    place.mkdir()
    (place / "rung.toml").write_text('project = "default"\n')
    (place / "pipelines.py").write_text(PROJECT)
    monkeypatch.chdir(place)
    forget_modules(place)
    sys.modules.pop("pipelines", None)

    def command(*arguments: str, code: int = 0) -> Result:
        found = CliRunner().invoke(cli, list(arguments))
        assert found.exit_code == code, found.output
        return found

    yield command
    sys.modules.pop("pipelines", None)
    while str(place) in sys.path:
        sys.path.remove(str(place))


def test_a_run_is_explained_before_and_after(run: Any) -> None:
    assert "load would run: it has no earlier result." in run("run", "train", "--explain", "--dry-run").stdout
    assert "load: Ran: it has no earlier result." in run("run", "train", "--explain").stdout
    assert "double is cached" in run("run", "train", "--dry-run").stdout
    told = json.loads(run("run", "train", "-p", "n=4", "--dry-run", "--json").stdout)
    assert [(step["key"], step["would"]) for step in told] == [("load", "run"), ("double", "unknown")]
    run("run", "train", "-p", "n=4")
    told = run("pipeline", "explain", "train:2", "load").stdout
    assert "load (succeeded): Ran: parameter n changed from 3 to 4." in told
    assert "  parameter n: 3 → 4" in told
    run("pipeline", "explain", "train:2", "gone", code=4)
    run("run", "--resume", "train:1", "--dry-run", code=2)


def test_a_log_says_which_attempts_were_before_it(run: Any) -> None:
    run("run", "patient")
    assert run("pipeline", "log", "patient:1", "load").stderr == ""
    said = run("pipeline", "log", "patient:1", "stutter").stderr
    assert "Attempt 1: Step 'stutter' failed: TimeoutError: the warehouse is asleep" in said
    assert "`rung pipeline log patient:1 stutter --attempt 1` shows it." in said


def test_a_rerun_may_name_its_pipeline_too(run: Any) -> None:
    run("run", "train")
    run("run", "train", "--rerun", "train:1", "--from", "double")
    run("run", "patient", "--rerun", "train:1", "--from", "double", code=2)


def test_an_audited_run_names_what_was_read(run: Any) -> None:
    assert "load read undeclared: variable HIDDEN" in run("run", "train", "--audit").stdout


def test_the_cache_is_listed_shown_and_cleared(run: Any) -> None:
    run("run", "train")
    listed = json.loads(run("cache", "list", "--json").stdout)["items"]
    assert {item["step"] for item in listed} == {"load", "double"}
    key = next(item["cache_key"] for item in listed if item["step"] == "load")
    shown = run("cache", "show", key.removeprefix("blake3:")[:12]).stdout
    assert "pipelines.py:load" in shown
    assert "n=json" in shown
    run("cache", "clear", code=2)
    assert json.loads(run("cache", "clear", "--step", "load", "--json").stdout) == {"count": 1}
    assert json.loads(run("cache", "clear", "--all", "--json").stdout) == {"count": 1}
    run("cache", "show", "0000", code=4)


def test_runs_of_a_pipeline_that_has_none_are_told_from_those_of_one_that_is_not_there(run: Any) -> None:
    assert "No runs yet" in run("pipeline", "runs", "train").output
    assert "There is no pipeline 'trian'" in run("pipeline", "runs", "trian", code=4).output
    assert "rung pipeline list" in run("run", code=2).output
