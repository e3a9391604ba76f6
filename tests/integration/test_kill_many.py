"""kill -9 of workers and server, at any instant, over pipelines of thirty steps: each finished step ran once, all runs complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.killing import campaign, verify, write_project
from tests.servers import PostgresServer


def test_forty_kills_leave_every_run_complete(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    write_project(folder)
    toll = campaign(folder, kills=40, seed=7, every_s=(0.05, 0.4))
    found = verify(folder, toll)
    assert (toll.kills.total(), toll.fell) == (40, [])
    assert found["steps"] == 30 * len(toll.runs)


def test_twenty_kills_on_postgresql_leave_every_run_complete(tmp_path: Path, postgres: PostgresServer) -> None:
    folder = tmp_path / "project"
    write_project(folder, database=postgres.new_database())
    toll = campaign(folder, kills=20, seed=8, every_s=(0.05, 0.4))
    verify(folder, toll)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_kills_leave_every_run_complete(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    write_project(folder)
    toll = campaign(folder, kills=2000, seed=1, every_s=(0.02, 0.3), wait_s=600)
    found = verify(folder, toll)
    assert (toll.kills.total(), toll.fell) == (2000, [])
    assert found["lost"] > 0
