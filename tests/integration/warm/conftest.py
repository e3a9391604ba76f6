"""A project, an environment with a place of its own for sockets, and a warm process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.warm.commands import PIPELINES, end, rung


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "rung.toml").write_text('home = "home"\n')
    (tmp_path / "project" / "pipelines.py").write_text(PIPELINES)
    return tmp_path / "project"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "run").mkdir(mode=0o700)
    held = {key: value for key, value in os.environ.items() if not key.startswith("RUNG_")}
    return {**held, "XDG_RUNTIME_DIR": str(tmp_path / "run")}


@pytest.fixture
def warm(project: Path, env: dict[str, str]) -> Iterator[int]:
    done = rung("warm", "start", "--idle", "5m", "--json", folder=project, env=env)
    assert done.returncode == 0, done.stderr
    pid: int = json.loads(done.stdout)["pid"]
    yield pid
    end(pid)
