"""Tracking and registry on both database engines, and over HTTP."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator

import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.app.local import local_transport
from rung.client.client import Client
from rung.client.transports import Transport
from rung.core.errors import Conflict, RungError
from rung.core.settings import Settings
from rung.tracking import records as r

FRAME = pl.DataFrame({"x": [float(i % 17) for i in range(300)], "late": [i % 17 > 8 for i in range(300)]})
MODEL = LogisticRegression().fit(FRAME.select("x"), FRAME["late"].to_numpy())


@pytest.fixture
def engine_client(any_settings: Settings) -> Iterator[Client]:
    """A client of the embedded platform on each engine in turn."""
    with Client(local_transport(any_settings)) as opened:
        yield opened


def try_all(client: Client) -> None:
    run = client.tracking.start("flights", params={"depth": 3}, seeds={"numpy": 1})
    client.tracking.log(run.id, metrics={"auc": 0.7, "nan": math.nan, "up": math.inf}, tags={"a": "b"})
    client.tracking.log(run.id, metrics=[r.MetricPoint(key="loss", value=float(step), step=step) for step in range(50)])
    client.tracking.log(run.id, metrics={"auc": 0.8}, step=1)
    other = client.tracking.start("flights")
    client.tracking.log(other.id, metrics={"auc": math.nan})
    client.tracking.start("flights")
    after, seen = None, []
    while True:
        page = client.tracking.search(experiments="flights", order_by="metrics.auc DESC", limit=1, after=after)
        seen += [item.number for item in page.items]
        after = page.next
        if after is None:
            break
    assert seen == [1, 2, 3]
    where = "metrics.auc > 0.75 AND params.depth = 3"
    assert [item.number for item in client.tracking.search(where).items] == [1]
    found = client.tracking.get("flights:1")
    assert math.isnan(found.metrics["nan"])
    assert (found.metrics["auc"], found.metrics["up"]) == (0.8, math.inf)
    assert client.tracking.history(run.id, "loss", limit=20).total == 50
    assert client.tracking.finish(run.id).status == "succeeded"

    client.data.add("flights", FRAME)
    for _ in range(2):
        client.registry.register("late", MODEL, example=FRAME.select("x"), label="late", datasets=[("test", "flights", 1)], run_id=run.id)
    client.registry.set_gate_rules("late", [{"gate": "threshold", "metric": "accuracy", "at_least": 0.9}, {"gate": "better_than_champion"}])
    assert client.registry.check_gate("late", 1).passed
    client.registry.promote("late", 1)
    assert client.registry.check_gate("late", 2).champion == 1
    client.registry.promote("late", 2, reason="as good, and newer")
    assert client.registry.version("late", alias="champion").number == 2
    first, second = client.evaluation.list("late", number=1)[0], client.evaluation.list("late", number=2)[0]
    assert client.evaluation.compare(second.id, first.id, "roc_auc", resamples=200).gain == 0.0
    assert len(client.registry.predictor("late", alias="champion").predict_scores(FRAME.select("x"))) == 300
    assert client.governance.verify_audit().intact


def test_a_run_and_a_model_live_on_each_engine(engine_client: Client) -> None:
    try_all(engine_client)


def test_a_run_and_a_model_live_over_each_transport(any_transport: Transport) -> None:
    try_all(Client(any_transport))


def test_of_two_who_move_an_alias_at_once_one_gets_a_conflict(engine_client: Client) -> None:
    registry = engine_client.registry
    for _ in range(3):
        registry.register("late", MODEL, example=FRAME.select("x"), label="late")
    registry.set_alias("late", "shadow", 1)
    outcomes: list[str] = []

    def move(number: int) -> None:
        try:
            registry.set_alias("late", "shadow", number, expected=1)
            outcomes.append("moved")
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=move, args=(number,)) for number in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "moved"]


def test_versions_and_runs_registered_at_once_get_numbers_of_their_own(engine_client: Client) -> None:
    failures: list[RungError] = []

    def make() -> None:
        try:
            engine_client.tracking.start("flights")
            engine_client.registry.register("late", MODEL, example=FRAME.select("x"), label="late")
        except RungError as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(version.number for version in engine_client.registry.versions("late").items) == [1, 2, 3, 4]
    assert sorted(run.number for run in engine_client.tracking.search(experiments="flights").items) == [1, 2, 3, 4]
