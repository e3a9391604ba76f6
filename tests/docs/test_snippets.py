"""Every snippet of the docs runs: each page in one fresh project folder, its blocks in order.

``python`` blocks share a namespace. ``console`` blocks run the lines that start with ``$``; a line that must fail
says so by ``# exit N`` at its end. A block after ``<!-- not run: reason -->`` is only shown.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(
    r"(?P<note><!-- not run: [^>]+-->\n+)?```(?P<kind>python|console|toml|[a-z]*)(?: (?P<file>\S+))?\n(?P<body>.*?)```", re.S
)
# The tutorial and the demo have tests of their own, with a server.
OWN_TEST = {"tutorial.md", "demo.md"}
PAGES = sorted(p for p in [ROOT / "README.md", *ROOT.glob("docs/*.md")] if p.name not in OWN_TEST)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_snippet_of_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program: list[str] = []
    for block in BLOCK.finditer(page.read_text("utf-8")):
        if block["note"]:
            continue
        if block["file"]:
            program.append(f"__write({block['file']!r}, {block['body']!r})")
        elif block["kind"] == "python":
            program.append(block["body"])
        elif block["kind"] == "console":
            program += [f"__run({line[2:]!r})" for line in block["body"].splitlines() if line.startswith("$ ")]
    if not program:
        return
    script = tmp_path / "__page.py"
    script.write_text(PRELUDE + "\n".join(program), "utf-8")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "RUNG_HOME": str(tmp_path / "home")}
    folder = tmp_path / "project"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{page.name}:\n{done.stdout}\n{done.stderr}"


PRELUDE = """
import re as __re, subprocess as __subprocess, pathlib as __pathlib

def __write(name, body):
    path = __pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body)

def __run(line):
    wanted = __re.search(r"# exit (\\d+)$", line)
    done = __subprocess.run(line, shell=True, capture_output=True, text=True)
    if done.returncode != (int(wanted[1]) if wanted else 0):
        raise SystemExit(f"{line}\\nended with {done.returncode}\\n{done.stdout}\\n{done.stderr}")

"""
