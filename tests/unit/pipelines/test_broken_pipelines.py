"""A pipeline whose function raises: said with file and line when it is run, and no trouble for the others of its project."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.errors import Invalid
from rung.core.settings import load_settings
from rung.pipelines.project import forget_modules, load_project
from rung.pipelines.tracing import trace

CODE = """import sys
import rung
from rung import pipeline, step

SIZES = {"small": 1, "large": 100}

@step
def count(size: int) -> int:
    return size

@pipeline
def sound(size: int = 3):
    return count(size)

@pipeline
def sized(size: str = "small"):
    return count(SIZES[size])

@pipeline
def misspelt(size: int = 3):
    return count(rung.no_such_thing(size))

@pipeline
def leaving():
    sys.exit("no")
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "rung.toml").write_text("")
    (folder / "pipelines.py").write_text(CODE)
    with Client(local_transport(load_settings(folder, environ={}))) as client:
        yield client
    forget_modules(folder)
    sys.modules.pop("pipelines", None)
    sys.path[:] = [place for place in sys.path if place != str(folder)]


def test_the_others_of_its_project_run_and_all_are_listed(client: Client) -> None:
    assert client.pipelines.output(client.pipelines.run("sound").id) == 3
    assert {held.name for held in client.pipelines.list()} == {"sound", "sized", "misspelt", "leaving"}


@pytest.mark.parametrize(
    ("name", "params", "told"),
    [
        ("misspelt", {}, "Pipeline 'misspelt' makes no plan: AttributeError: module 'rung' has no attribute 'no_such_thing' "),
        ("sized", {"size": "medium"}, "Pipeline 'sized' makes no plan: KeyError: 'medium' "),
        ("leaving", {}, "Pipeline 'leaving' makes no plan: SystemExit: no "),
    ],
)
def test_its_run_fails_and_names_the_line(client: Client, name: str, params: dict[str, str], told: str) -> None:
    run = client.pipelines.run(name, params)
    line = {"misspelt": 21, "sized": 17, "leaving": 25}[name]
    assert run.status == "failed"
    assert run.error.startswith(f"{told}(pipelines.py, line {line}).")


def test_called_as_a_function_it_raises_what_it_raises(client: Client, tmp_path: Path) -> None:
    sized = load_project(load_settings(tmp_path / "project", environ={})).pipeline("sized")
    with pytest.raises(KeyError, match="medium"):
        sized("medium")
    with pytest.raises(Invalid, match=r"KeyError: 'medium' \(pipelines.py, line 17\)") as caught:
        trace(sized, {"size": "medium"})
    assert isinstance(caught.value.__cause__, KeyError)
