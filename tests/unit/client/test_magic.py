"""``%%step`` in a notebook runs the cell and makes a step of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rung
from rung.core.errors import Invalid


class Shell:
    """As much of a notebook's shell as the magic asks for."""

    def __init__(self, *cells: str) -> None:
        self.user_ns: dict[str, Any] = {}
        self.history_manager = SimpleNamespace(input_hist_raw=[""])
        self.magics: dict[str, Any] = {}
        rung.load_ipython_extension(self)
        for cell in cells:
            self.enter(cell)

    def register_magic_function(self, function: Any, kind: str, name: str) -> None:
        self.magics[f"{kind} {name}"] = function

    def enter(self, cell: str) -> None:
        self.history_manager.input_hist_raw.append(cell)
        if cell.startswith("%%step"):
            line, _, rest = cell.partition("\n")
            self.magics["cell step"](line.removeprefix("%%step").strip(), rest)
        else:
            self.run_cell(cell)

    def run_cell(self, cell: str) -> None:
        exec(compile(cell, "<cell>", "exec"), self.user_ns)


def test_a_cell_runs_and_becomes_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell("rate = 0.5\nxs = list(range(3))", "%%step scaled\nys = [x * rate for x in xs]")
    assert shell.user_ns["ys"] == [0.0, 0.5, 1.0]
    assert "def scaled(xs: Any, rate: float = 0.5) -> Any:" in capsys.readouterr().out


def test_outputs_may_be_named_and_a_module_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "steps.py"
    shell = Shell("xs = list('ab')", f"%%step first a --to {target}\na = xs[0]\nb = xs[1]", f"%%step second --to {target}\nc = a + a")
    assert shell.user_ns["c"] == "aa"
    assert "def first(xs: Any) -> Any:" in target.read_text()
    assert "def second(a: Any) -> Any:" in target.read_text()
    assert "In a pipeline: c = second(a)" in capsys.readouterr().out


def test_what_cannot_be_promoted_is_not_run() -> None:
    shell = Shell("x = 1")
    for cell in ("%%step\ny = x", "%%step a\ny = nobody", "%%step a\n!ls", "%%step a b\nimport os"):
        with pytest.raises(Invalid):
            shell.enter(cell)
    assert "y" not in shell.user_ns
