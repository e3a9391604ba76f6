"""Graphs and explanations on the hot path: asked over HTTP as clients do, and found again in the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from rung.client.client import Client
from rung.client.transports import HttpTransport
from rung.features.records import Feature, FeatureView
from tests.servers import RunningServer

RNG = np.random.default_rng(11)
FRAME = pl.DataFrame({"amount": RNG.normal(50, 20, 300), "visits": RNG.poisson(3, 300).astype(float)})
TRUTH = ((FRAME["amount"] / 20 - FRAME["visits"]) > 0).cast(pl.Int64)
TREES, LINE = HistGradientBoostingClassifier(max_iter=20).fit(FRAME, TRUTH), LogisticRegression().fit(FRAME, TRUTH)


@pytest.fixture
def served(fresh_server: RunningServer) -> Client:
    client = Client(HttpTransport(fresh_server.url, fresh_server.token))
    client.data.add("payments", FRAME)
    for model in (TREES, LINE):
        client.registry.register("pay", model, example=FRAME, label="bad", datasets=[("train", "payments", 1)])
    client.serving.deploy("pay", "pay", 1, environment="dev")
    return client


def asked(client: Client, frame: pl.DataFrame, *, query: str = "", **more: object) -> dict[str, list[object]]:
    inputs = []
    for series in frame.get_columns():
        kind = "BYTES" if series.dtype == pl.String else "FP64"
        inputs.append({"name": series.name, "shape": [series.len()], "datatype": kind, "data": series.to_list()})
    transport = client.transport
    assert isinstance(transport, HttpTransport)
    answer = transport.http.post(f"/v2/models/pay/infer{query}", json={"inputs": inputs, **more})
    assert answer.status_code == 200, answer.text
    return {one["name"]: one["data"] for one in answer.json()["outputs"]} | {"parameters": answer.json().get("parameters", {})}


def test_a_graph_with_a_lookup_answers_actions_and_flags_and_its_features_are_in_the_log(served: Client) -> None:
    day = datetime.now(UTC) - timedelta(days=2)
    facts = pl.DataFrame({"customer": ["ann", "bob"], "at": [day, day], "visits": [1.0, 9.0]})
    served.data.add("customers", facts)
    served.features.apply(
        FeatureView(name="customer", entity=("customer",), dataset="customers", time_column="at", features=(Feature(name="visits"),))
    )
    served.serving.set_graph("pay", {
        "inputs": {"amount": "Float64", "customer": "String"},
        "nodes": [
            {"name": "who", "kind": "lookup", "view": "customer", "defaults": {"visits": 3.0}},
            {"name": "watch", "kind": "quality"},
            {"name": "trees", "kind": "model"}, {"name": "line", "kind": "model", "inputs": ["watch"], "model": "pay:2"},
            {"name": "both", "kind": "ensemble", "inputs": ["trees", "line"]},
            {"name": "act", "kind": "decide", "threshold": 0.5, "actions": ["accept", "review"]},
        ],
    })  # fmt: skip
    found = asked(served, pl.DataFrame({"amount": [60.0, 60.0, 5000.0], "customer": ["ann", "bob", "eve"]}))
    inside = pl.DataFrame({"amount": [60.0, 60.0, 5000.0], "visits": [1.0, 9.0, 3.0]})
    expected = (TREES.predict_proba(inside)[:, 1] + LINE.predict_proba(inside)[:, 1]) / 2
    assert found["action"] == ["review" if p >= 0.5 else "accept" for p in expected]
    kept = served.serving.predictions("pay").sort("prediction_id")
    np.testing.assert_allclose(sorted(kept["score"]), sorted(expected), atol=1e-9)
    assert sorted(kept["customer.visits"]) == [1.0, 3.0, 9.0]
    flags = [one.split(",") if isinstance(one, str) else list(one) for one in found["flags"]]
    assert flags[2] == ["features_missing", "out_of_range:amount"]


@pytest.mark.parametrize("number", [1, 2])
def test_an_answer_is_explained_when_asked_and_adds_up(served: Client, number: int) -> None:
    served.serving.deploy("pay", "pay", number, environment="dev")
    frame = FRAME.head(2)
    found = asked(served, frame, parameters={"explain": True})
    scores = np.array(found["score"])
    told = found.get("explanation") or found.get("explanations")
    assert told is not None, found
    import json

    rows = [json.loads(one) if isinstance(one, str) else one for one in told]
    np.testing.assert_allclose([sum(one.values()) for one in rows], scores, atol=1e-9)


def test_a_graph_is_explained_over_what_callers_send(served: Client) -> None:
    served.serving.set_graph("pay", {
        "nodes": [
            {"name": "trees", "kind": "model"}, {"name": "line", "kind": "model", "inputs": ["request"], "model": "pay:2"},
            {"name": "both", "kind": "ensemble", "inputs": ["trees", "line"]},
        ],
    })  # fmt: skip
    transport = served.transport
    assert isinstance(transport, HttpTransport)
    body = {"dataframe_split": {"columns": FRAME.columns, "data": [list(row) for row in FRAME.head(2).rows()]}}
    answer: httpx.Response = transport.http.post("/deployments/pay/invocations?explain=true", json=body)
    assert answer.status_code == 200, answer.text
