"""Releases that two transactions change at once: none takes back what the other did."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.app.local import local_transport
from rung.app.opening import open_platform
from rung.app.platform import Caller, Platform
from rung.client.client import Client
from rung.core.errors import Conflict
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.core.settings import Settings
from rung.registry import retiring
from rung.registry.logged import DeleteVersion
from rung.serving import ab_tests, deploying, rollouts
from rung.serving.ab_records import AbTest
from rung.serving.options import RolloutPlan
from rung.serving.records import Deploy, GetDeployment, ListDeployments
from rung.serving.revising import drafted, saved
from rung.serving.rollout_records import PauseRollout, Rollout
from rung.serving.rollout_store import RolloutStore
from rung.serving.store import ServingStore
from rung.storage.scope import Scope


@pytest.fixture
def platform(any_settings: Settings) -> Iterator[Platform]:
    opened, _ = open_platform(any_settings)
    yield opened
    opened.close()


@pytest.fixture
def scope(platform: Platform) -> Scope:
    return platform.scope(Caller(principal="0" * 32, name="ann", kind="user", project=new_id(), role="owner"))


def beside(scope: Scope, first: Callable[[Scope], object], second: Callable[[Scope], object]) -> object:
    """What ``second`` comes to that begins when ``first`` is done and not committed yet."""
    done, begun = threading.Event(), threading.Event()

    def holding(inside: Scope) -> None:
        first(inside)
        done.set()
        begun.wait(0.3)  # the other looks now; one that must wait for this transaction cannot say so

    def looking(inside: Scope) -> object:
        found = second(inside)
        begun.set()
        return found

    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(scope.write, holding)
        assert done.wait(120)
        other = pool.submit(scope.write, looking)
        held.result(120)
        return other.result(120)


def test_a_version_is_not_both_deployed_and_deleted(any_settings: Settings) -> None:
    transport = local_transport(any_settings)
    client, scope = Client(transport), transport.platform.scope(transport.caller())
    rows = np.random.default_rng(0).normal(size=(40, 2))
    frame = pl.DataFrame({"a": rows[:, 0], "b": rows[:, 1]})
    for _ in range(2):
        client.registry.register("m", LogisticRegression().fit(rows, rows[:, 0] > 0), example=frame, label="y")

    def deploy(number: int) -> Callable[[Scope], object]:
        return lambda inside: deploying.deploy(Deploy(deployment=f"d{number}", model="m", number=number, environment="staging"), inside)

    def delete(number: int) -> Callable[[Scope], object]:
        return lambda inside: retiring.delete_version(DeleteVersion(model="m", number=number), inside)

    with pytest.raises(Conflict, match="m:1 is served by deployment d1"):
        beside(scope, deploy(1), delete(1))
    with pytest.raises(Conflict, match="m:2 is deleted"):
        beside(scope, delete(2), deploy(2))
    assert [held.name for held in transport.call(ListDeployments())] == ["d1"]
    transport.close()


def test_a_revision_is_not_made_from_one_that_is_not_the_newest_any_more(any_settings: Settings) -> None:
    transport = local_transport(any_settings)
    client, scope = Client(transport), transport.platform.scope(transport.caller())
    rows = np.random.default_rng(0).normal(size=(40, 2))
    frame = pl.DataFrame({"a": rows[:, 0], "b": rows[:, 1]})
    client.registry.register("m", LogisticRegression().fit(rows, rows[:, 0] > 0), example=frame, label="y")
    client.serving.deploy("d", "m", 1, environment="staging")
    held = transport.call(GetDeployment(deployment="d"))
    client.serving.deploy("d", "m", 1, environment="staging")  # committed after the other one had looked
    with pytest.raises(Conflict):
        scope.write(lambda s: saved(s, drafted(held, (), "undeploy", "")))
    found = transport.call(GetDeployment(deployment="d"))
    assert (found.revision, len(found.routes)) == (2, 1)
    transport.close()


def test_a_pause_and_a_look_at_once_are_both_kept(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServingStore, "get", lambda *_: SimpleNamespace(routes=()))
    rollout = Rollout(
        id=new_id(), deployment="d", model="m", number=2, plan=RolloutPlan(), state="growing", step=0, share=0.05, first_revision=2,
        step_revision=2, revision=2, started_at=scope.now, step_at=scope.now, changed_at=scope.now,
    )  # fmt: skip
    scope.write(lambda s: RolloutStore(s.connection, s.project).save(rollout))

    def look(inside: Scope) -> None:
        store = RolloutStore(inside.connection, inside.project)
        store.save(replaced(store.active("d", held=True), looks=5))

    beside(scope, look, lambda s: rollouts.pause_rollout(PauseRollout(deployment="d"), s))
    found = scope.read(lambda s: RolloutStore(s.connection, s.project).active("d"))
    assert (found.state, found.looks) == ("paused", 5)


def test_a_test_that_is_stopped_is_not_taken_for_one_under_way(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServingStore, "get", lambda *_: SimpleNamespace(routes=()))
    test = AbTest(
        id=new_id(), deployment="d", arms=(), policy="split", reward="label", state="running", first_revision=2, revision=2,
        started_at=scope.now, started_by="ann", changed_at=scope.now,
    )  # fmt: skip
    scope.write(lambda s: RolloutStore(s.connection, s.project).save_test(test))
    with pytest.raises(Conflict, match="stopped"):
        beside(
            scope,
            lambda s: RolloutStore(s.connection, s.project).save_test(replaced(test, state="stopped")),
            lambda s: ab_tests._running(s, "d", changing=True),
        )
