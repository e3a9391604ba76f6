"""What tests of autolog share: a platform of their own, every failure of ours raised, and everything put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import rung
from rung.client import current
from rung.client.autolog import later
from rung.client.autolog.guard import STRICT
from rung.client.client import Client
from rung.tracking.records import Run


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The platform that the fluent functions of this test reach."""
    monkeypatch.setenv("RUNG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(STRICT, "1")
    monkeypatch.chdir(tmp_path)
    yield current._client()
    rung.autolog(disable=True)
    later.forget()
    current._clients.pop((str(tmp_path), "")).close()


def runs(platform: Client) -> list[Run]:
    """All runs, in the order they were opened, with what they hold."""
    found = [platform.tracking.get(run) for run in rung.search_runs(limit=100)["id"].to_list()]
    return sorted(found, key=lambda run: (run.started_at, run.number))


def only_run(platform: Client) -> Run:
    """The one run there is."""
    found = runs(platform)
    assert len(found) == 1, [run.name for run in found]
    return found[0]


def files(platform: Client, run: Run) -> set[str]:
    """Paths of a run's artifacts."""
    return {item.path for item in platform.tracking.artifacts(run.id)}
