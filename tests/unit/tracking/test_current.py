"""The fluent functions."""

from __future__ import annotations

import pytest

import rung
from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.errors import Conflict
from rung.pipelines.context import StepContext, current_step


def test_everything_logged_in_the_block_has_arrived_after_it(client: Client) -> None:
    with rung.start_run("flights", params={"depth": 3}, client=client) as run:
        for step in range(2500):
            rung.log_metric("loss", 1 / (step + 1), step=step)
        rung.set_tag("stage", "try")
        rung.log_artifact(b"x", "a.txt")
    found = client.tracking.get(run.id)
    assert found.status == "succeeded"
    assert client.tracking.history(run.id, "loss").total == 2500
    assert found.tags == {"stage": "try"}


def test_a_block_that_raises_fails_its_run_and_says_why(client: Client) -> None:
    def attempt() -> None:
        with rung.start_run("flights", client=client):
            rung.log_metric("loss", 1.0)
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        attempt()
    found = client.tracking.get("flights:1")
    assert (found.status, found.error, found.metrics) == ("failed", "ValueError: boom", {"loss": 1.0})


def test_a_run_inside_another_is_its_child(client: Client) -> None:
    with rung.start_run(client=client) as outer, rung.start_run("inner") as inner:
        rung.log_param("a", 1)
    assert client.tracking.get(inner.id).parent == outer.id
    assert client.tracking.get(outer.id).params == {}


def test_in_a_step_the_steps_run_is_the_current_one(client: Client, transport: LocalTransport) -> None:
    run = client.tracking.start()
    step = StepContext(pipeline="p", pipeline_run="0" * 32, step="s", attempt=1, seed=0, run_id=run.id, transport=transport)
    token = current_step.set(step)
    try:
        rung.log_metric("auc", 0.7)
    finally:
        current_step.reset(token)
    assert client.tracking.get(run.id).metrics == {"auc": 0.7}


def test_without_a_run_logging_says_how_to_open_one() -> None:
    with pytest.raises(Conflict, match="start_run"):
        rung.log_metric("auc", 0.7)
