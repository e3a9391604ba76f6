"""``rung step from-notebook``: a cell on the terminal, in a module, as JSON; refusals with their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rung.cli.frame import State
from rung.cli.step import command


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook of three cells."""
    cells = [
        {"cell_type": "code", "source": text, "metadata": {}} for text in ("rate = 0.5\nx = [rate]", "y = x[0] * rate", "!ls\nprint(y)")
    ]
    path = tmp_path / "explore.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def called(*arguments: str) -> tuple[int, str]:
    answer = CliRunner().invoke(command, ["from-notebook", *arguments], obj=State())
    return answer.exit_code, answer.output


def test_a_step_is_printed(notebook: Path) -> None:
    code, text = called(str(notebook), "2", "--name", "half")
    assert (code, "def half(x: Any, rate: float = 0.5) -> Any:" in text) == (0, True)


def test_a_step_is_added_to_a_module_once(notebook: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "pipelines.py"
    code, text = called(str(notebook), "2", "--name", "half", "--to", str(target))
    assert (code, "In a pipeline: y = half(x)" in text) == (0, True)
    assert "def half(" in target.read_text()
    before = target.read_text()
    code, text = called(str(notebook), "2", "--name", "half", "--to", str(target))
    assert (code, "already" in text, target.read_text()) == (1, True, before)


def test_a_step_is_answered_as_json(notebook: Path) -> None:
    code, text = called(str(notebook), "2", "--name", "half", "--json")
    assert code == 0
    assert {key: json.loads(text)[key] for key in ("name", "inputs", "outputs")} == {
        "name": "half",
        "inputs": ["x", "rate"],
        "outputs": ["y"],
    }


@pytest.mark.parametrize(("arguments", "wanted"), [(("3", "--name", "show"), 2), (("9", "--name", "none"), 4), (("2", "--name", "a b"), 2)])
def test_what_cannot_be_promoted_has_its_exit_code(notebook: Path, arguments: tuple[str, ...], wanted: int) -> None:
    assert called(str(notebook), *arguments)[0] == wanted
    assert called(str(notebook) + ".none", "1", "--name", "x")[0] == 4
