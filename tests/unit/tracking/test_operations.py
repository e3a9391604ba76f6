"""Runs through the platform."""

from __future__ import annotations

import math
import time

import pytest

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.ids import new_id
from rung.core.references import DatasetUse
from rung.tracking import records as r


def test_a_run_keeps_params_latest_metrics_tags_and_context(client: Client) -> None:
    run = client.tracking.start("flights", params={"rate": 0.1, "depth": 3, "on": True, "name": "x", "none": None}, seeds={"numpy": 7})
    client.tracking.log(run.id, metrics={"auc": 0.7}, step=1, tags={"stage": "try"})
    client.tracking.log(run.id, metrics={"auc": 0.6}, step=0)
    found = client.tracking.get("flights:1")
    assert found.params == {"depth": 3, "name": "x", "none": None, "on": True, "rate": 0.1}
    assert found.metrics == {"auc": 0.7}
    assert found.tags == {"stage": "try"}
    assert found.context.seeds == {"numpy": 7}
    assert found.context.hardware.cpus >= 1
    assert client.transport.get_blob(found.lock)
    assert "auc" in found._repr_html_()


def test_nan_and_infinities_survive(client: Client) -> None:
    run = client.tracking.start()
    client.tracking.log(run.id, metrics={"nan": math.nan, "up": math.inf, "down": -math.inf, "tiny": 5e-324})
    metrics = client.tracking.get(run.id).metrics
    assert math.isnan(metrics.pop("nan"))
    assert metrics == {"up": math.inf, "down": -math.inf, "tiny": 5e-324}


def test_a_batch_is_logged_whole_or_not_at_all(client: Client) -> None:
    run = client.tracking.start(params={"depth": 3})
    with pytest.raises(Conflict):
        client.tracking.log(run.id, params={"depth": 4}, metrics={"auc": 0.7}, tags={"a": "b"})
    found = client.tracking.get(run.id)
    assert (found.metrics, found.tags) == ({}, {})


def test_the_same_batch_counts_once(transport: LocalTransport, client: Client) -> None:
    run = client.tracking.start()
    request = r.LogBatch(run=run.id, batch=new_id(), metrics=(r.MetricPoint(key="loss", value=1.0, step=3),))
    transport.call(request)
    transport.call(request)
    assert client.tracking.history(run.id, "loss").total == 1


def test_starting_a_run_of_one_id_twice_opens_one(transport: LocalTransport) -> None:
    request = r.StartRun(experiment="flights", id=new_id())
    assert transport.call(request).number == transport.call(request).number == 1
    with pytest.raises(Conflict):
        transport.call(r.StartRun(experiment="other", id=request.id))


def test_pages_by_metric_put_nan_after_numbers_and_runs_without_it_last(client: Client) -> None:
    for value in (0.7, 0.9, math.nan, None, 0.9):
        run = client.tracking.start("flights")
        if value is not None:
            client.tracking.log(run.id, metrics={"auc": value})
    for descending, expected in ((True, [5, 2, 1, 3, 4]), (False, [1, 5, 2, 3, 4])):
        order, after, seen = r.Order(by="metric", key="auc", descending=descending), None, []
        while True:
            page = client.tracking.search("flights", order=order, limit=2, after=after)
            seen += [run.number for run in page.items]
            after = page.next
            if after is None:
                break
        assert seen == expected


def test_pages_by_start_are_newest_first(client: Client) -> None:
    for _ in range(5):
        client.tracking.start("flights")
    first = client.tracking.search("flights", limit=3)
    second = client.tracking.search("flights", limit=3, after=first.next)
    assert [run.number for run in (*first.items, *second.items)] == [5, 4, 3, 2, 1]
    assert second.next is None
    with pytest.raises(Invalid):
        client.tracking.search("flights", after="nonsense")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (r.Condition(field="metric", key="auc", operator=">", value=0.65), [2]),
        (r.Condition(field="param", key="depth", operator="<=", value=3), [1]),
        (r.Condition(field="param", key="kind", operator="like", value="tr%"), [2]),
        (r.Condition(field="param", key="kind", operator="missing"), [1]),
        (r.Condition(field="tag", key="a", operator="present"), [1]),
        (r.Condition(field="status", value="succeeded"), [2]),
        (r.Condition(field="status", operator="!=", value="succeeded"), [1]),
        (r.Condition(field="started_at", operator="<", value="2013-01-01T00:00:00Z"), []),
    ],
)
def test_runs_are_found_by_condition(client: Client, condition: r.Condition, expected: list[int]) -> None:
    one = client.tracking.start("flights", params={"depth": 3}, tags={"a": "b"})
    two = client.tracking.start("flights", params={"depth": 10, "kind": "tree"})
    client.tracking.log(one.id, metrics={"auc": 0.6})
    client.tracking.log(two.id, metrics={"auc": 0.7})
    client.tracking.finish(two.id)
    for order in (r.Order(), r.Order(by="metric", key="auc"), r.Order(by="param", key="depth")):
        assert [run.number for run in client.tracking.search("flights", conditions=[condition], order=order).items] == expected


def test_a_deleted_run_is_not_listed_takes_nothing_and_can_be_restored(client: Client) -> None:
    run = client.tracking.start("flights")
    client.tracking.delete(run.id)
    assert client.tracking.search("flights").items == ()
    assert [item.id for item in client.tracking.search("flights", deleted=True).items] == [run.id]
    with pytest.raises(Conflict):
        client.tracking.log(run.id, metrics={"auc": 1.0})
    client.tracking.restore(run.id)
    assert len(client.tracking.search("flights").items) == 1


def test_artifacts_are_bytes_by_path(client: Client) -> None:
    run = client.tracking.start()
    client.tracking.log_artifact(run.id, b"old", "plots/roc.txt")
    client.tracking.log_artifact(run.id, b"new", "plots/roc.txt")
    assert [(item.path, item.size_bytes, item.media_type) for item in client.tracking.artifacts(run.id)] == [
        ("plots/roc.txt", 3, "text/plain")
    ]
    assert client.tracking.read_artifact(run.id, "plots/roc.txt") == b"new"
    for path in ("../x", "a//b", "/a", "a/.."):
        with pytest.raises(Invalid):
            client.tracking.log_artifact(run.id, b"x", path)


def test_a_long_series_is_thinned_but_keeps_its_spike(client: Client) -> None:
    run = client.tracking.start()
    for start in range(0, 3000, 1000):
        points = [r.MetricPoint(key="loss", value=99.0 if step == 1234 else 0.5, step=step) for step in range(start, start + 1000)]
        client.tracking.log(run.id, metrics=points)
    series = client.tracking.history(run.id, "loss", limit=100)
    assert series.thinned
    assert series.total == 3000
    assert max(item.value for item in series.points) == 99.0


def test_datasets_of_a_run_are_in_its_lineage(client: Client) -> None:
    run = client.tracking.start(datasets=[DatasetUse(dataset="flights", number=3)])
    client.tracking.log(run.id, datasets=[DatasetUse(dataset="planes", number=1)])
    sources = {edge.source.id for edge in client.governance.trace("run", run.id).edges if edge.relation == "input_of"}
    assert sources == {"flights:3", "planes:1"}


def test_what_is_not_there_is_named(client: Client) -> None:
    run = client.tracking.start()
    for ask, word in ((lambda: client.tracking.get("flights:9"), "flights:9"), (lambda: client.tracking.history(run.id, "auc"), "'auc'")):
        with pytest.raises(NotFound, match=word):
            ask()


def test_a_thousand_points_are_logged_in_one_short_call(client: Client) -> None:
    run = client.tracking.start()
    points = [r.MetricPoint(key="loss", value=float(step), step=step) for step in range(1000)]
    started = time.process_time()
    client.tracking.log(run.id, metrics=points)
    assert time.process_time() - started < 1.0  # measured 0.03 s; the bound only catches a query a point
