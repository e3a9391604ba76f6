"""The tutorial, taken literally from the page and run from nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "tutorial.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text("utf-8"), re.S)


def test_a_newcomer_gets_through_the_loop_in_under_ten_commands(tmp_path: Path) -> None:
    (program,) = blocks(r"python prepare\.py")
    (tmp_path / "prepare.py").write_text(program, "utf-8")
    loop, look = blocks("console")
    lines = [line[2:] for line in loop.splitlines() if line.startswith("$ ")]
    assert len([line for line in lines if line.startswith("rung ")]) < 10
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNG_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    script = "set -e\n" + "\n".join([*lines, *(line[2:] for line in look.splitlines())])
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    said = done.stdout
    assert "champion" in said
    assert "chain intact" in said
    assert "dataset_version cases:1" in said
    assert re.search(r"converges\s+train\s+fit\s+passed", said), said
    assert (tmp_path / "cancer" / "answers.csv").read_text().count("\n") == 201
