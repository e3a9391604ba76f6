"""Open Inference v2 and /invocations over HTTP, asked as foreign clients ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.client.client import connect
from tests.servers import RunningServer

ROWS = pl.DataFrame({"age": [20.0, 30.0, 40.0, 50.0] * 25, "visits": [1.0, 2.0, 3.0, 4.0] * 25})
STAYS = np.array([1, 1, 0, 0] * 25)


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    client = connect(server.url, server.token)
    for strength in (1.0, 0.01):
        model = LogisticRegression(C=strength).fit(ROWS.to_numpy(), STAYS)
        client.registry.register("churn", model, example=ROWS, label="stays")
    client.serving.deploy("churn", "churn", 1, environment="staging")
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {server.token}"}, timeout=30) as opened:
        yield opened
    client.close()


def infer(http: httpx.Client, *, path: str = "/v2/models/churn/infer", **body: Any) -> httpx.Response:
    given = {
        "inputs": [
            {"name": "age", "shape": [2], "datatype": "FP64", "data": [25.0, 45.0]},
            {"name": "visits", "shape": [2, 1], "datatype": "FP64", "data": [[1.0], [3.0]]},
        ]
    }
    return http.post(path, json=given | body)


def test_a_tensor_a_column_is_answered_with_scores_labels_and_ids(http: httpx.Client) -> None:
    answer = infer(http, id="q1").json()
    outputs = {tensor["name"]: tensor for tensor in answer["outputs"]}
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("q1", "churn", "1")
    expected = LogisticRegression().fit(ROWS.to_numpy(), STAYS).predict_proba([[25.0, 1.0], [45.0, 3.0]])[:, 1]
    assert outputs["score"]["data"] == pytest.approx(expected.tolist())
    assert outputs["label"]["data"] == [1, 0]
    assert len(set(outputs["prediction_id"]["data"])) == 2


def test_one_matrix_in_the_order_of_the_signature_is_the_same(http: httpx.Client) -> None:
    matrix = [{"name": "input-0", "shape": [2, 2], "datatype": "FP32", "data": [25.0, 1.0, 45.0, 3.0]}]
    one, other = infer(http).json(), infer(http, inputs=matrix).json()
    assert one["outputs"][0]["data"] == pytest.approx(other["outputs"][0]["data"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"inputs": []}, "no inputs"),
        ({"inputs": [{"name": "age", "shape": [1], "datatype": "FP64", "data": [1.0]}]}, "visits"),
        ({"inputs": [{"name": "age", "shape": [3], "datatype": "FP64", "data": [1.0]}]}, "shape"),
        ({"inputs": [{"name": "age", "shape": [1], "datatype": "FLOAT", "data": [1.0]}]}, "FLOAT"),
        ({"inputs": [{"name": "age", "shape": [1], "datatype": "FP64", "data": ["x"]}]}, "age"),
        ({"outputs": [{"name": "colour"}]}, "colour"),
    ],
)
def test_a_mistake_is_a_400_that_names_it(http: httpx.Client, body: dict[str, Any], said: str) -> None:
    answer = infer(http, **body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_what_is_not_json_and_who_is_not_known_are_told(http: httpx.Client, server: RunningServer) -> None:
    assert http.post("/v2/models/churn/infer", content=b"{").status_code == 400
    assert http.post("/v2/models/other/infer", json={"inputs": []}).status_code == 404
    assert httpx.get(f"{server.url}/v2/models/churn").status_code == 401
    assert http.post("/v2/health/live").status_code == 405
    assert http.get("/v2/health/ready").json() == {"ready": True}


def test_metadata_names_inputs_and_outputs(http: httpx.Client) -> None:
    described = http.get("/v2/models/churn").json()
    assert [tensor["name"] for tensor in described["inputs"]] == ["age", "visits"]
    assert described["versions"] == ["1"]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["visits", "age"], "data": [[1.0, 25.0], [3.0, 45.0]]}},
        {"dataframe_records": [{"age": 25.0, "visits": 1}, {"age": 45, "visits": 3}]},
        {"inputs": {"age": [25.0, 45.0], "visits": [1, 3]}},
        {"instances": [[25.0, 1.0], [45.0, 3.0]]},
    ],
)
def test_every_form_of_invocations_is_answered_alike(http: httpx.Client, body: dict[str, Any]) -> None:
    assert http.post("/invocations", json=body).json()["predictions"] == [1, 0]


def test_csv_is_answered_too(http: httpx.Client) -> None:
    answer = http.post("/deployments/churn/invocations", content=b"age,visits\n25,1\n45,3\n", headers={"content-type": "text/csv"})
    assert answer.json()["predictions"] == [1, 0]


def test_a_named_version_answers_alone_while_a_canary_runs(http: httpx.Client, server: RunningServer) -> None:
    client = connect(server.url, server.token)
    client.serving.start_canary("churn", 2, share=0.5)
    try:
        scores = {tuple(infer(http, path="/v2/models/churn/versions/1/infer").json()["outputs"][0]["data"]) for _ in range(12)}
        assert len(scores) == 1
        assert infer(http, path="/v2/models/churn/versions/2/infer").json()["model_version"] == "2"
        assert infer(http, path="/v2/models/churn/versions/9/infer").status_code == 404
    finally:
        client.serving.abort_canary("churn")
        client.close()


def test_a_prediction_is_found_by_its_id_and_keeps_its_event_time(http: httpx.Client, server: RunningServer) -> None:
    body = {"dataframe_records": [{"age": 25.0, "visits": 1}], "prediction_ids": ["customer-7"], "event_times": ["2013-07-01T08:00:00Z"]}
    assert http.post("/deployments/churn/invocations", json=body).json()["prediction_ids"] == ["customer-7"]
    client = connect(server.url, server.token)
    found = client.serving.find("customer-7")
    client.close()
    assert found.event_time.isoformat() == "2013-07-01T08:00:00+00:00"
    assert found.inputs == {"age": 25.0, "visits": 1.0}
