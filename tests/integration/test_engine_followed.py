"""A version that is compiled anew reaches the deployments that serve it: as a revision of its own, swapped between two answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import polars as pl
import pytest
from click.testing import CliRunner

from rung.app.local import LocalTransport
from rung.cli.main import cli
from rung.core.errors import Conflict
from rung.serving.live import live_table
from rung.serving.options import RolloutPlan
from tests.integration.releasing import NAME, Release, released

ROWS = pl.DataFrame({f"x{i}": [0.1, -0.4, 2.0] for i in range(3)})


@pytest.fixture
def release(transport: LocalTransport) -> Iterator[Release]:
    held = released(transport)
    yield held
    held.engine.close()


def serving_by(release: Release, name: str = NAME) -> str:
    """The engine that answers now."""
    platform = release.transport.platform
    project = platform.database.read(lambda c: c.exec_driver_sql("SELECT project FROM deployment").scalar())
    table = live_table(platform.database, platform.blobs, platform.settings)
    return table.get(str(project), name).stable.predictor.engine


def test_deployments_follow_an_engine_with_a_revision_that_tells_the_parity(release: Release) -> None:
    verbs, registry = release.client.serving, release.client.registry
    release.settle()
    before = verbs.predict(NAME, ROWS)["score"].to_list()
    assert serving_by(release) == "affine"
    registry.compile("late", 1, engine="native")
    release.settle()
    assert serving_by(release) == "native"
    assert verbs.predict(NAME, ROWS)["score"].to_list() == pytest.approx(before, rel=1e-9)
    registry.compile("late", 1)
    release.settle()
    assert serving_by(release) == "affine"
    newest, former, *_ = verbs.revisions(NAME)
    assert [newest.change, former.change] == ["reload", "reload"]
    assert newest.routes == former.routes
    assert "late:1 is served by the engine affine" in newest.reason
    assert "largest difference" in newest.reason
    assert "the model's own library" in former.reason


def test_the_same_artifact_and_a_version_that_is_not_deployed_change_nothing(release: Release) -> None:
    release.settle()
    release.client.registry.compile("late", 1)
    release.client.registry.compile("late", 2, engine="native")
    release.settle()
    assert [x.change for x in release.client.serving.revisions(NAME)] == ["deploy"]


def test_a_canary_goes_on_and_no_request_fails_meanwhile(release: Release) -> None:
    verbs = release.client.serving
    verbs.start_canary(NAME, 2, share=0.2, plan=RolloutPlan(steps=(0.2, 1.0), step_rows=1_000_000, gates={"errors": {}}))
    failed: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                verbs.predict(NAME, ROWS)
            except BaseException as error:
                failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for engine in ("native", "", "native"):
        release.client.registry.compile("late", 2, engine=engine)
        release.settle()
    stop.set()
    thread.join()
    assert failed == []
    assert [(x.arm, x.number) for x in verbs.get(NAME).routes] == [("stable", 1), ("canary", 2)]
    assert verbs.rollouts(NAME)[0].state == "growing"
    assert sum(x.change == "reload" for x in verbs.revisions(NAME)) == 3


def test_without_an_engine_beside_it_a_reload_is_asked_for(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    assert serving_by(release) == "affine"
    release.client.registry.compile("late", 1, engine="native")
    assert serving_by(release) == "affine"
    monkeypatch.setenv("RUNG_HOME", str(release.transport.platform.settings.home_path))
    told = CliRunner().invoke(cli, ["endpoint", "reload", NAME, "--reason", "at once"])
    assert told.exit_code == 0, told.output
    assert serving_by(release) == "native"
    release.settle()  # the engine that comes later has nothing to do
    assert [x.change for x in release.client.serving.revisions(NAME)] == ["reload", "deploy"]
    release.client.serving.undeploy(NAME)
    with pytest.raises(Conflict, match="serves nothing"):
        release.client.serving.reload(NAME)
