"""A search as steps: it finds what it should, prunes, comes from the cache, and goes on with what a longer one asks."""

from __future__ import annotations

import pytest

from rung.client.client import Client
from rung.client.tuning.space import Float
from rung.client.tuning.study import StudyTrial, study
from rung.core.errors import Invalid
from rung.pipelines.authoring import pipeline, step

pytest.importorskip("optuna")


@step
def objective(trial: dict, centre: float) -> dict:
    """A parabola that is known better with every round; bad ones show from the first on."""
    held = StudyTrial(trial)
    value = (held["x"] - centre) ** 2
    for at in range(3):
        held.report(value + 1 / (at + 1), at)
        if held.should_prune():
            return held.pruned()
    return held.done(value)


@pipeline
def searched(trials: int = 24, pruner: str = "median", direction: str = "minimize") -> dict:
    return study(objective, {"x": Float(-10.0, 10.0)}, trials=trials, parallel=6, pruner=pruner, direction=direction, seed=3, centre=2.5)


def test_a_search_finds_the_minimum_and_prunes_on_the_way(client: Client) -> None:
    run = client.pipelines.run(searched, executor="inline")
    assert run.status == "succeeded", run.error
    found = client.pipelines.output(run.id)
    assert found["trials"] == 24
    assert 0 < found["pruned"] < 24
    assert found["value"] == (found["params"]["x"] - 2.5) ** 2 < 4.0  # a random point is below 4 with a chance of one in five
    items = [item for key in ("objective", "objective-2", "objective-3", "objective-4") for item in client.pipelines.items(run.id, key)]
    assert len(items) == 24


def test_a_search_run_again_comes_from_the_cache_and_a_longer_one_goes_on(client: Client) -> None:
    first = client.pipelines.run(searched, {"trials": 12})
    again = client.pipelines.run(searched, {"trials": 12})
    assert {step.status for step in client.pipelines.get(again.id).steps} == {"cached"}
    longer = client.pipelines.run(searched, {"trials": 18})
    ran = {held.key for held in client.pipelines.get(longer.id).steps if held.status == "succeeded"}
    assert ran == {"asked-3", "objective-3", "best"}
    assert client.pipelines.output(longer.id)["value"] <= client.pipelines.output(first.id)["value"]


def test_without_a_pruner_nothing_is_pruned_and_a_maximum_can_be_searched(client: Client) -> None:
    run = client.pipelines.run(searched, {"trials": 12, "pruner": "none", "direction": "maximize"})
    found = client.pipelines.output(run.id)
    assert found["pruned"] == 0
    assert found["value"] > 50  # at the ends of the range it is 56 and 156


def test_a_search_of_nothing_is_refused(client: Client) -> None:
    assert client.pipelines.run(searched, {"trials": 0}).status == "failed"
    with pytest.raises(Invalid, match="no pruner 'x'"):
        study(objective, {"x": Float(0.0, 1.0)}, pruner="x")
