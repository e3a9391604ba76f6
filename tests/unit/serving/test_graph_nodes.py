"""Graphs on a platform: models registered, graphs set, rows tried; expected scores come from scikit-learn itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.client.graphs import graph_from
from rung.core.errors import Conflict, Invalid, NotFound, Unavailable
from rung.features.records import Feature, FeatureView
from rung.registry.loading import predictor
from rung.serving.graph.counting import FileCounter
from rung.serving.graph.drawing import parts, text
from rung.serving.graph.making import build
from rung.serving.graph.running import Graph
from rung.serving.graph.surroundings import PlatformSurroundings
from rung.serving.graph.trying import rows_of, scores_by
from rung.serving.inference import Asked, Rows
from rung.storage.scope import Scope

RNG = np.random.default_rng(7)
FRAME = pl.DataFrame({"amount": RNG.normal(50, 20, 400), "visits": RNG.poisson(3, 400).astype(float)})
TRUTH = ((FRAME["amount"] / 20 - FRAME["visits"]) > 0).cast(pl.Int64)
FIRST = LogisticRegression().fit(FRAME, TRUTH)
SECOND = LogisticRegression(C=0.001).fit(FRAME, TRUTH)
ROW = {"amount": 80.0, "visits": 2.0}


def proba(model: Any, **row: float) -> float:
    return float(model.predict_proba(pl.DataFrame([row or ROW]))[0, 1])


@pytest.fixture
def served(client: Client) -> Client:
    """Two versions of a model, the first one deployed as ``pay``, and the data it was trained on."""
    client.data.add("payments", FRAME.with_columns(TRUTH.alias("bad")))
    for model in (FIRST, SECOND):
        client.registry.register("pay", model, example=FRAME, label="bad", datasets=[("train", "payments", 1)])
    client.serving.deploy("pay", "pay", 1, environment="dev")
    return client


def trial(client: Client, *nodes: Mapping[str, Any], row: Mapping[str, Any] = ROW, inputs: Mapping[str, str] | None = None) -> Any:
    return client.serving.try_graph("pay", row, graph={"nodes": list(nodes), **({"inputs": inputs} if inputs else {})})


def test_a_column_is_worked_out_before_the_model_sees_it(served: Client) -> None:
    prepared = {"name": "prepare", "kind": "transform", "columns": {"amount": "cents / 100", "visits": "coalesce(seen, 0)"}}
    found = trial(
        served,
        prepared,
        {"name": "model", "kind": "model"},
        row={"cents": 8000.0, "seen": 2.0},
        inputs={"cents": "Float64", "seen": "Float64"},
    )
    assert found.score == pytest.approx(proba(FIRST))
    assert [(node.node, node.columns) for node in found.nodes] == [("prepare", {"amount": 80.0, "visits": 2.0}), ("model", {})]


def test_a_score_is_worked_on_after_the_model_and_shown_with_other_columns(served: Client) -> None:
    after = {
        "name": "after",
        "kind": "transform",
        "columns": {"band": '"high" if score > 0.5 else "low"'},
        "score": "1 - score",
        "answer": ["band"],
    }
    found = trial(served, {"name": "model", "kind": "model"}, after)
    assert found.score == pytest.approx(1 - proba(FIRST))
    assert found.columns == {"band": "high" if proba(FIRST) > 0.5 else "low"}


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ({"how": "mean"}, (proba(FIRST) + proba(SECOND)) / 2),
        ({"how": "weighted", "weights": {"one": 1.0, "two": 3.0}}, (proba(FIRST) + 3 * proba(SECOND)) / 4),
        ({"how": "vote", "threshold": 0.5}, (float(proba(FIRST) >= 0.5) + float(proba(SECOND) >= 0.5)) / 2),
    ],
)
def test_an_ensemble_makes_one_score_of_two(served: Client, way: dict[str, Any], expected: float) -> None:
    found = trial(
        served, {"name": "one", "kind": "model", "inputs": ["request"]}, {"name": "two", "kind": "model", "inputs": ["request"], "model": "pay:2"},
        {"name": "both", "kind": "ensemble", "inputs": ["one", "two"], **way},
    )  # fmt: skip
    assert found.score == pytest.approx(expected)


def test_a_stacking_gives_the_scores_to_a_model_that_was_fitted_on_them(served: Client) -> None:
    scores = pl.DataFrame({"one": FIRST.predict_proba(FRAME)[:, 1], "two": SECOND.predict_proba(FRAME)[:, 1]})
    last = LogisticRegression().fit(scores, TRUTH)
    served.registry.register("stack", last, example=scores, label="bad")
    found = trial(
        served, {"name": "one", "kind": "model", "inputs": ["request"]}, {"name": "two", "kind": "model", "inputs": "request", "model": "pay:2"},
        {"name": "both", "kind": "ensemble", "inputs": ["one", "two"], "how": "stacking", "model": "stack:1"},
    )  # fmt: skip
    assert found.score == pytest.approx(float(last.predict_proba(pl.DataFrame({"one": [proba(FIRST)], "two": [proba(SECOND)]}))[0, 1]))


def test_a_switch_asks_only_the_branch_that_a_row_takes(served: Client) -> None:
    nodes = [
        {"name": "small", "kind": "model", "inputs": ["request"]}, {"name": "big", "kind": "model", "inputs": ["request"], "model": "pay:2"},
        {"name": "which", "kind": "switch", "inputs": ["request"], "cases": [{"when": "amount > 60", "then": "big"}], "otherwise": "small", "flag": True},
    ]  # fmt: skip
    found = trial(served, *nodes)
    assert (found.score, found.flags) == (pytest.approx(proba(SECOND)), ("which:big",))
    assert [node.node for node in found.nodes] == ["big", "which"]
    assert trial(served, *nodes, row={"amount": 10.0, "visits": 1.0}).score == pytest.approx(proba(FIRST, amount=10.0, visits=1.0))


def test_a_switch_goes_by_what_a_model_answered(served: Client) -> None:
    nodes = [
        {"name": "quick", "kind": "model"}, {"name": "slow", "kind": "model", "inputs": ["quick"], "model": "pay:2"},
        {"name": "which", "kind": "switch", "inputs": ["quick"], "cases": [{"when": "0.2 < score < 0.99", "then": "slow"}], "otherwise": "quick"},
    ]  # fmt: skip
    for row in ({"amount": 80.0, "visits": 2.0}, {"amount": 10.0, "visits": 9.0}):
        first = proba(FIRST, **row)
        assert trial(served, *nodes, row=row).score == pytest.approx(proba(SECOND, **row) if 0.2 < first < 0.99 else first)


class Place:
    """A platform's transport, to make graphs as the data plane makes them."""

    def __init__(self, client: Client, transport: LocalTransport) -> None:
        caller = transport.caller()
        platform = transport.platform
        self.scope = Scope(
            project=caller.project, principal=caller.principal, principal_kind="service", now=datetime.now(UTC), settings=platform.settings,
            database=platform.database, blobs=platform.blobs,
        )  # fmt: skip
        self.own = client.registry.version("pay", 1)
        self.client = client

    def graph(self, *nodes: Mapping[str, Any], inputs: Mapping[str, str] | None = None) -> Graph:
        options = graph_from({"nodes": list(nodes), **({"inputs": inputs} if inputs else {})})
        found = build(options, PlatformSurroundings(self.scope, "pay", self.own))
        assert found is not None
        return found

    def score(self, *numbers: int) -> Any:
        versions = {"": self.own, **{f"pay:{number}": self.client.registry.version("pay", number) for number in numbers}}
        return scores_by({name: predictor(self.scope, version) for name, version in versions.items()})


@pytest.fixture
def place(served: Client, transport: LocalTransport) -> Place:
    return Place(served, transport)


def answered(graph: Graph, frame: pl.DataFrame, score: Any, times: list[datetime] | None = None) -> Any:
    rows = rows_of(frame, graph.fields)
    stamps = None if times is None else np.array([int(at.timestamp() * 1e6) for at in times], dtype=np.int64)
    return graph.answer(rows, Asked(rows=rows, times_us=stamps), score)


def test_rows_of_one_request_take_different_branches_and_come_back_in_order(place: Place) -> None:
    graph = place.graph(
        {"name": "twice", "kind": "transform", "columns": {"double": "amount * 2"}},
        {"name": "small", "kind": "model", "inputs": ["twice"]}, {"name": "big", "kind": "model", "inputs": ["twice"], "model": "pay:2"},
        {"name": "which", "kind": "switch", "inputs": ["twice"], "cases": [{"when": "double > 120", "then": "big"}], "otherwise": "small", "flag": True},
        {"name": "shown", "kind": "transform", "answer": ["double"]},
    )  # fmt: skip
    frame = FRAME.head(50)
    found = answered(graph, frame, place.score(2))
    big = frame["amount"].to_numpy() > 60
    np.testing.assert_allclose(found.scores, np.where(big, SECOND.predict_proba(frame)[:, 1], FIRST.predict_proba(frame)[:, 1]))
    assert found.flags == [("which:big",) if taken else ("which:small",) for taken in big]
    np.testing.assert_allclose(found.columns["double"], frame["amount"] * 2)


def failing(model: str, rows: Rows) -> Any:
    if model == "":
        raise RuntimeError("out of order")
    return np.full(rows.height, 0.25)


def test_a_rule_answers_when_a_model_fails_and_the_answer_says_so(place: Place) -> None:
    graph = place.graph({"name": "model", "kind": "model"}, {"name": "sure", "kind": "fallback", "rule": "0.9 if amount > 60 else 0.1"})
    found = answered(graph, FRAME.head(3), failing)
    assert found.scores.tolist() == [0.9 if amount > 60 else 0.1 for amount in FRAME.head(3)["amount"]]
    assert found.flags == [("fallback:failed",)] * 3
    assert answered(graph, FRAME.head(3), place.score()).flags is None


def test_another_version_answers_when_one_fails(place: Place) -> None:
    graph = place.graph(
        {"name": "new", "kind": "model"}, {"name": "old", "kind": "model", "inputs": ["request"], "model": "pay:2"},
        {"name": "sure", "kind": "fallback", "inputs": ["new"], "to": "old"},
    )  # fmt: skip
    assert answered(graph, FRAME.head(2), failing).scores.tolist() == [0.25, 0.25]
    assert graph.blocking
    assert graph.models == ("pay:2",)


def test_a_model_that_is_too_slow_is_not_waited_for(place: Place) -> None:
    go_on = threading.Event()

    def slow(model: str, rows: Rows) -> Any:
        go_on.wait(120)
        return np.ones(rows.height)

    graph = place.graph({"name": "model", "kind": "model"}, {"name": "sure", "kind": "fallback", "rule": "0.5", "deadline_ms": 20})
    begun = time.monotonic()
    try:
        found = answered(graph, FRAME.head(2), slow)
        assert time.monotonic() - begun < 60  # else it waited for the model
    finally:
        go_on.set()
    assert (found.scores.tolist(), found.flags) == ([0.5, 0.5], [("fallback:slow",)] * 2)


def test_what_a_caller_did_wrong_is_no_reason_to_fall_back(place: Place) -> None:
    def refusing(model: str, rows: Rows) -> Any:
        raise Invalid("amount is NaN", code="registry.bad_input")

    nodes = ({"name": "model", "kind": "model"}, {"name": "sure", "kind": "fallback", "rule": "0.5"})
    with pytest.raises(Invalid, match="amount is NaN"):
        answered(place.graph(*nodes), FRAME.head(1), refusing)
    lenient = place.graph(nodes[0], {**nodes[1], "on_bad_input": True})
    assert answered(lenient, FRAME.head(1), refusing).scores.tolist() == [0.5]


def test_a_threshold_makes_an_action_of_a_score(served: Client) -> None:
    nodes = [{"name": "model", "kind": "model"}, {"name": "act", "kind": "decide", "threshold": 0.5, "actions": ["accept", "review"]}]
    assert trial(served, *nodes).columns == {"action": "review" if proba(FIRST) >= 0.5 else "accept"}


def test_rules_make_actions_of_scores_and_columns(served: Client) -> None:
    rules = [{"when": "score > 0.9 and amount > 70", "then": "block"}, {"when": "score > 0.5", "then": "review"}]
    nodes = [{"name": "model", "kind": "model"}, {"name": "act", "kind": "decide", "rules": rules, "otherwise": "accept"}]
    p = proba(FIRST)
    assert trial(served, *nodes).columns == {"action": "block" if p > 0.9 else "review" if p > 0.5 else "accept"}


def test_the_action_with_the_most_expected_money_is_taken_by_the_value_matrix(served: Client) -> None:
    served.value.set_matrix("pay", tp=50.0, fp=-10.0, fn=-100.0, tn=0.0, currency="EUR")
    file = {
        "nodes": [
            {"name": "model", "kind": "model"},
            {"name": "act", "kind": "decide", "actions": ["accept", "review"], "value_matrix": "pay"},
        ]
    }
    graph = graph_from(file, served.serving._transport)
    assert graph.nodes[1].settings["money"] == {"accept": [0.0, -100.0], "review": [-10.0, 50.0]}
    assert graph.nodes[1].settings["value_matrix"] == "pay:1 in EUR"
    for row in (ROW, {"amount": 1.0, "visits": 12.0}):
        p = proba(FIRST, **row)
        review, accept = -10 * (1 - p) + 50 * p, -100 * p
        found = served.serving.try_graph("pay", row, graph=graph).columns
        assert found == {"action": "review" if review > accept else "accept", "action_value": pytest.approx(max(review, accept))}


def test_at_most_so_many_actions_are_taken_in_a_window_of_event_time_by_each_entity(place: Place) -> None:
    graph = place.graph(
        {"name": "act", "kind": "decide", "rules": [{"when": "amount > 60", "then": "block"}], "otherwise": "accept"},
        {"name": "most", "kind": "limit", "actions": {"block": 2}, "cautious": "review", "window_s": 3600, "entity": "visits"},
    )  # fmt: skip
    frame = pl.DataFrame({"amount": [70.0, 80.0, 90.0, 95.0, 10.0, 99.0], "visits": [1.0, 1.0, 1.0, 2.0, 1.0, 1.0]})
    hour = datetime(2013, 5, 1, 10, tzinfo=UTC)
    times = [hour, hour, hour, hour, hour, hour + timedelta(hours=1)]
    found = answered(graph, frame, None, times)
    assert found.columns["action"] == ["block", "block", "review", "block", "accept", "block"]
    assert found.flags == [(), (), ("action_limited",), (), (), ()]
    assert answered(graph, frame.head(1), None, [hour + timedelta(minutes=59)]).columns["action"] == ["review"]


def test_a_counter_counts_each_key_and_window_and_is_shared_by_openings_of_its_file(tmp_path: Path) -> None:
    one, other = FileCounter(tmp_path / "counts"), FileCounter(tmp_path / "counts")
    assert [one.take("a", 1, 2), other.take("a", 1, 2), one.take("a", 1, 2)] == [True, True, False]
    assert one.take("b", 1, 2)
    assert one.take("a", 2, 2)
    assert not one.take("c", 1, 0)
    for key in range(5000):
        assert one.take(f"key {key}", 3, 1)
    assert not any(other.take(f"key {key}", 3, 1) for key in range(5000))


def test_input_that_the_training_data_never_held_is_flagged(place: Place) -> None:
    graph = place.graph({"name": "watch", "kind": "quality"}, {"name": "model", "kind": "model"})
    high = float(FRAME["amount"].max()) + 1
    found = answered(graph, pl.DataFrame({"amount": [50.0, high, high], "visits": [3.0, 3.0, -1.0]}), place.score())
    assert found.flags == [(), ("out_of_range:amount",), ("out_of_range:amount", "out_of_range:visits")]


def test_unseen_texts_and_missing_values_are_flagged(served: Client, place: Place) -> None:
    served.data.add("shops", pl.DataFrame({"shop": ["a", "b", "a"], "size": [1.0, 2.0, 3.0]}))
    graph = place.graph(
        {"name": "watch", "kind": "quality", "dataset": "shops", "most_missing": 0.4}, {"name": "act", "kind": "transform", "score": "1"},
        inputs={"shop": "String", "size": {"dtype": "Float64", "nullable": True}},
    )  # fmt: skip
    found = answered(graph, pl.DataFrame({"shop": ["a", "z", None], "size": [1.0, None, 9.0]}), None)
    assert found.flags == [(), ("unseen:shop", "missing:size", "much_missing"), ("out_of_range:size", "missing:shop", "much_missing")]


def test_a_row_far_from_all_training_rows_is_an_outlier_though_each_value_is_usual(place: Place) -> None:
    line = RNG.normal(0, 1, 2000)
    place.client.data.add("line", pl.DataFrame({"amount": line, "visits": line + RNG.normal(0, 0.1, 2000)}))
    graph = place.graph({"name": "far", "kind": "outlier", "dataset": "line", "answer": True}, {"name": "model", "kind": "model"})
    found = answered(graph, pl.DataFrame({"amount": [1.0, 1.5], "visits": [1.0, -1.5]}), place.score())
    assert found.flags == [(), ("outlier",)]
    assert found.columns["outlier_score"][0] < 1 < found.columns["outlier_score"][1]


def test_features_are_looked_up_by_key_as_of_the_row_and_told_for_the_log(served: Client, place: Place) -> None:
    day = datetime(2013, 1, 1, tzinfo=UTC)
    facts = pl.DataFrame({"customer": ["ann", "ann", "bob"], "at": [day, day + timedelta(days=10), day], "visits": [1.0, 5.0, 2.0]})
    served.data.add("customers", facts)
    served.features.apply(
        FeatureView(name="customer", entity=("customer",), dataset="customers", time_column="at", features=(Feature(name="visits"),))
    )
    graph = place.graph(
        {"name": "who", "kind": "lookup", "view": "customer", "defaults": {"visits": 3.0}, "max_age_s": 5 * 86400},
        {"name": "model", "kind": "model"}, inputs={"amount": "Float64", "customer": "String"},
    )  # fmt: skip
    frame = pl.DataFrame({"amount": [50.0] * 4, "customer": ["ann", "ann", "bob", "eve"]})
    times = [day + timedelta(days=1), day + timedelta(days=11), day + timedelta(days=30), day + timedelta(days=1)]
    found = answered(graph, frame, place.score(), times)
    visits = [1.0, 5.0, 2.0, 3.0]
    np.testing.assert_allclose(found.scores, [proba(FIRST, amount=50.0, visits=each) for each in visits])
    assert found.flags == [(), (), ("features_stale",), ("features_missing",)]
    assert found.used["customer.visits"].tolist() == visits
    assert graph.blocking
    assert graph.facade(place.own).signature.inputs == graph.fields


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([{"name": "x", "kind": "magic"}], "Node 'x' is of the unknown kind 'magic'"),
        ([{"name": "x", "kind": "model", "inputs": ["y"]}], "Node 'x' reads from 'y', which is no node"),
        ([{"name": "x", "kind": "model", "inputs": ["y"]}, {"name": "y", "kind": "model", "inputs": ["x"]}], "waits for itself: y → x → y"),
        ([{"name": "x", "kind": "model"}, {"name": "y", "kind": "model", "inputs": ["request"]}], "Node 'x' leads nowhere"),
        ([{"name": "x", "kind": "model", "model": "pay:9"}], "Node 'x'"),
        ([{"name": "x", "kind": "model", "model": "nobody:1"}], "Node 'x'"),
        ([{"name": "x", "kind": "model", "model": "pay"}], "names no model version"),
        ([{"name": "x", "kind": "model", "columns": {"amount": "euros"}}], "Node 'x': pay:1 takes euros"),
        ([{"name": "x", "kind": "model", "columns": {"euros": "amount"}}], "Node 'x': pay:1 has no input 'euros'"),
        (
            [{"name": "t", "kind": "transform", "columns": {"amount": "'much'"}}, {"name": "x", "kind": "model"}],
            "takes amount as a number, and it is a text",
        ),
        ([{"name": "t", "kind": "transform", "columns": {"z": "amount +"}}], "Node 't': The expression 'amount +' is wrong"),
        ([{"name": "t", "kind": "transform", "columns": {"z": 3}}], "Node 't' has wrong settings"),
        ([{"name": "t", "kind": "transform", "colums": {}}], "Node 't' has wrong settings"),
        ([{"name": "o", "kind": "outlier", "dataset": "rows:1"}], "Node 'o' has wrong settings: Expected a name (letters, digits"),
        ([{"name": "t", "kind": "decide", "threshold": 0.5, "actions": ["a", "b"]}], "a threshold needs one score a row"),
        ([{"name": "m", "kind": "model"}, {"name": "f", "kind": "fallback"}], "one of `to` and `rule`"),
        ([{"name": "m", "kind": "model"}, {"name": "e", "kind": "ensemble"}], "an ensemble of one is none"),
        ([{"name": "q", "kind": "quality", "dataset": "nothing"}], "Node 'q'"),
        ([{"name": "l", "kind": "lookup", "view": "nothing"}], "Node 'l'"),
        ([{"name": "a", "kind": "limit", "actions": {"x": 1}, "cautious": "y", "window_s": 1}], "Put a decide node before it"),
        ([{"name": "a", "kind": "model"}, {"name": "a", "kind": "model"}], "Two nodes are called 'a'"),
        ([{"name": "request", "kind": "model"}], "cannot be called 'request'"),
    ],
)
def test_a_graph_that_cannot_be_is_refused_when_it_is_set_and_the_node_is_named(
    served: Client, nodes: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises((Invalid, NotFound)) as caught:
        served.serving.set_graph("pay", {"nodes": nodes})
    assert message in f"{caught.value.message} {caught.value.hint}"
    assert served.serving.get("pay").revision == 1


def test_models_of_different_tasks_make_no_ensemble(served: Client) -> None:
    served.registry.register("euros", LinearRegression().fit(FRAME, FRAME["amount"]), example=FRAME, label="value")
    nodes = [
        {"name": "a", "kind": "model", "inputs": ["request"]}, {"name": "b", "kind": "model", "inputs": ["request"], "model": "euros:1"},
        {"name": "c", "kind": "ensemble", "inputs": ["a", "b"]},
    ]  # fmt: skip
    with pytest.raises(Invalid, match="a is binary of 2 classes, b is regression of 0 classes"):
        trial(served, *nodes)


def test_setting_a_graph_freezes_it_makes_a_revision_and_a_rollback_takes_it_back(served: Client) -> None:
    served.registry.set_alias("pay", "second", 2)
    nodes = [
        {"name": "one", "kind": "model"}, {"name": "two", "kind": "model", "inputs": ["request"], "model": "pay@second"},
        {"name": "watch", "kind": "quality", "inputs": ["request"]}, {"name": "both", "kind": "ensemble", "inputs": ["one", "two"]},
    ]  # fmt: skip
    with pytest.raises(Invalid, match="'watch' leads nowhere"):
        served.serving.set_graph("pay", {"nodes": nodes})
    nodes[0]["inputs"] = nodes[1]["inputs"] = ["watch"]
    revision = served.serving.set_graph("pay", {"nodes": [nodes[2], nodes[0], nodes[1], nodes[3]]}, reason="two are better")
    assert (revision.number, revision.change, revision.reason) == (2, "configure", "two are better")
    kept = {node.name: node.settings for node in revision.options.graph.nodes}
    assert kept["two"]["model"] == "pay:2"
    assert kept["watch"]["columns"]["amount"]["high"] == pytest.approx(float(FRAME["amount"].max()))
    served_by = served.governance.trace("deployment", "pay:2")
    assert {node.id for node in served_by.nodes if node.kind == "model_version"} >= {"pay:1", "pay:2"}
    with pytest.raises(Conflict):
        served.registry.delete_version("pay", 2)
    assert served.serving.rollback("pay", to=1).options.graph is None


def test_a_version_that_does_not_fit_the_graph_is_not_deployed_under_it(served: Client) -> None:
    served.serving.set_graph(
        "pay", {"nodes": [{"name": "t", "kind": "transform", "columns": {"r": "amount / visits"}}, {"name": "m", "kind": "model"}]}
    )
    wider = FRAME.with_columns(pl.lit(1.0).alias("age"))
    served.registry.register("pay", LogisticRegression().fit(wider, TRUTH), example=wider, label="bad")
    served.serving.deploy("pay", "pay", 3, environment="dev")  # its own inputs are asked for then
    served.serving.set_graph(
        "pay", {"inputs": {"amount": "Float64", "visits": "Float64", "age": "Float64"}, "nodes": [{"name": "m", "kind": "model"}]}
    )
    other = FRAME.rename({"visits": "calls"})
    served.registry.register("pay", LogisticRegression().fit(other, TRUTH), example=other, label="bad")
    with pytest.raises(Invalid, match="Node 'm': pay:4 takes calls"):
        served.serving.deploy("pay", "pay", 4, environment="dev")


def test_a_graph_is_drawn_as_text_and_as_parts(served: Client) -> None:
    graph = graph_from({
        "nodes": [
            {"name": "small", "kind": "model", "inputs": ["request"]}, {"name": "big", "kind": "model", "inputs": ["request"], "model": "pay:2"},
            {"name": "which", "kind": "switch", "inputs": ["request"], "cases": [{"when": "amount > 60", "then": "big"}], "otherwise": "small"},
        ]
    })  # fmt: skip
    assert [(part.key, part.needs) for part in parts(graph)] == [
        ("request", ()), ("small", ("request",)), ("big", ("request",)), ("which", ("request", "big", "small")),
    ]  # fmt: skip
    assert text(graph).splitlines() == [
        "○ request  request   what the version takes", "│", "○ small    model    ← request   the deployment's own version", "│",
        "○ big      model    ← request   pay:2", "│", "● which    switch   ← request  ⇢ big | small   big if amount > 60, else small",
    ]  # fmt: skip
    assert text(None) == "No graph: the deployment's version answers alone.\n"


def test_a_graph_is_read_from_toml(served: Client, tmp_path: Path) -> None:
    file = tmp_path / "graph.toml"
    file.write_text(
        '[inputs]\ncents = "Float64"\nvisits = "Float64"\n[[nodes]]\nname = "p"\nkind = "transform"\ncolumns = { amount = "cents / 100" }\n[[nodes]]\nname = "m"\nkind = "model"\n'
    )
    served.serving.set_graph("pay", file)
    assert served.serving.try_graph("pay", {"cents": 8000.0, "visits": 2.0}).score == pytest.approx(proba(FIRST))
    with pytest.raises(NotFound):
        graph_from(tmp_path / "other.toml")
    file.write_text("[[nodes")
    with pytest.raises(Invalid, match="cannot be read"):
        graph_from(file)


def test_a_failing_model_without_a_fallback_says_so(place: Place) -> None:
    def gone(model: str, rows: Rows) -> Any:
        raise Unavailable("the process died", code="serving.isolated")

    with pytest.raises(Unavailable):
        answered(place.graph({"name": "model", "kind": "model"}), FRAME.head(1), gone)
