"""Steps in one process share Python's and NumPy's random generators: those that may draw from them run one at a time."""

from __future__ import annotations

import random
import threading
import time

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import RandomForestClassifier

from rung import pipeline, step
from rung.client.client import Client
from rung.engine.wiring import step_seed
from rung.pipelines.fingerprint import fingerprint

clients: list[Client] = []
seen: list[int] = []
together = threading.Barrier(2, timeout=120)


def _slowly() -> list[float]:
    drawn = []
    for _ in range(5):
        drawn.append(random.random())
        time.sleep(0.02)
    return drawn


@step(cache=False)
def one() -> list[float]:
    return _slowly()


@step(cache=False)
def other() -> list[float]:
    return [*_slowly(), float(np.random.rand())]


@step(cache=False, retries=4, backoff=0.01)
def failing() -> int:
    seen.append(1)
    if len(seen) % 4:
        raise ValueError("not yet")
    return len(seen)


@step(cache=False)
def left() -> int:
    return together.wait()


@step(cache=False)
def right() -> int:
    return together.wait()


@step(cache=False)
def asking() -> list[float]:
    first = random.random()
    inner = clients[0].pipelines.run("alone")
    assert inner.status == "succeeded"
    return [first, random.random()]


@pipeline
def both():
    return one(), other()


@pipeline
def beside_failures():
    return one(), failing()


@pipeline
def beside():
    return left(), right()


@pipeline
def alone():
    return one()


@pipeline
def nested():
    return asking()


def test_steps_that_draw_give_what_their_seeds_give_however_many_run(client: Client) -> None:
    run = client.pipelines.run(both, seed=7)
    for name in ("one", "other"):
        expected = random.Random(step_seed(7, name))
        assert client.pipelines.output(run.id, name)[:5] == [expected.random() for _ in range(5)]
    assert client.pipelines.output(run.id, "other")[5] == np.random.RandomState(step_seed(7, "other")).rand()


def test_retries_of_other_steps_take_no_numbers_from_one_that_draws(client: Client) -> None:
    run = client.pipelines.run(beside_failures, seed=7)
    expected = random.Random(step_seed(7, "one"))
    assert client.pipelines.output(run.id, "one") == [expected.random() for _ in range(5)]
    assert len(seen) == 4


def test_steps_that_draw_nothing_run_side_by_side(client: Client) -> None:
    assert client.pipelines.run(beside).status == "succeeded"


@pytest.mark.timeout(240)
def test_a_run_that_a_drawing_step_asks_for_does_not_wait_for_it(client: Client) -> None:
    clients[:] = [client]
    client.pipelines.run(alone)
    run = client.pipelines.run(nested, seed=7)
    assert run.status == "succeeded"
    expected = random.Random(step_seed(7, "asking"))
    assert client.pipelines.output(run.id) == [expected.random(), expected.random()]  # what ran meanwhile took none of its numbers


def test_a_program_that_runs_a_pipeline_finds_its_generators_as_they_were(client: Client) -> None:
    random.seed(5)
    np.random.seed(5)
    client.pipelines.run(both, seed=7)
    assert random.random() == random.Random(5).random()
    assert np.random.rand() == np.random.RandomState(5).rand()


def _shuffled(values: list[int]) -> list[int]:
    random.shuffle(values)
    return values


def test_what_reaches_a_generator_is_told_from_what_does_not() -> None:
    def through_a_helper() -> list[int]:
        return _shuffled([1, 2])

    def numpys() -> float:
        return float(np.random.default_rng().random())

    def inside() -> float:
        from random import random as drawn

        return drawn()

    def trains() -> RandomForestClassifier:
        return RandomForestClassifier().fit([[0.0], [1.0]], [0, 1])

    def harmless(frame: pl.DataFrame) -> float:
        return float(np.mean(frame["x"].to_numpy())) + time.time()

    assert [fingerprint(f).draws for f in (through_a_helper, numpys, inside, trains, harmless)] == [True, True, True, True, False]
