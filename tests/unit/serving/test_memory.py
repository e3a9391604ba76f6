"""Who is unloaded when models may take so much memory and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.records import replaced
from rung.core.settings import load_settings
from rung.serving.live import LiveTable
from rung.serving.memory import giving_way
from rung.serving.records import ListDeployments

ROWS = np.random.default_rng(0).normal(size=(40, 2))
FRAME = pl.DataFrame({"a": ROWS[:, 0], "b": ROWS[:, 1]})


def test_the_longest_unused_give_way_until_the_rest_fits() -> None:
    sizes, used = {"a": 40, "b": 30, "c": 20, "d": 10}, {"a": 3.0, "b": 1.0, "c": 2.0}
    assert giving_way(sizes, used, 100) == []
    assert giving_way(sizes, used, 60) == ["d", "b"]
    assert giving_way(sizes, used, 60, staying={"b"}) == ["d", "c", "a"]
    assert giving_way(sizes, used, 1, staying={"a"}) == ["d", "b", "c"]
    assert giving_way(sizes, used, 0) == []


@pytest.fixture
def client(tmp_path: Path):
    opened = Client(local_transport(load_settings(tmp_path, environ={})))
    for number in range(5):
        model = LogisticRegression(C=1.0 + number).fit(ROWS, ROWS[:, 0] > 0)
        opened.registry.register(f"m{number}", model, example=FRAME, label="y")
        opened.serving.deploy(f"d{number}", f"m{number}", 1, environment="staging")
    yield opened
    opened.close()


def test_a_deployment_that_was_unloaded_is_loaded_again_by_its_next_request(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = client.transport.platform
    monkeypatch.setattr("rung.serving.live.size_of", lambda versions: len({v.digest for v in versions}) << 20)
    settings = replaced(platform.settings, serving=replaced(platform.settings.serving, memory_mb=2))
    table = LiveTable(platform.database, platform.blobs, settings)
    project = client.transport.caller().project
    table.refresh()
    assert (len(table._held), len(table.asleep)) == (2, 3)
    assert table.names(project) == [d.name for d in client.transport.call(ListDeployments())]
    for name in ("d4", "d3", "d2"):
        live = table.get(project, name)
        live.meter.answered(0.001, 1, 5.0)
        table._note_use()
        live.meter.fold()
        assert len(table._held) <= 2
    assert {name for _, name in table._held} == {"d2", "d3"}
    assert all(reason == "" for reason in table.states().values())
    table.close()
