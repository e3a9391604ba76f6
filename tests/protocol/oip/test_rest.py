"""Open Inference v2 and /invocations over HTTP, asked by hand."""

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
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {server.token}"}, timeout=60) as opened:
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
    assert outputs["predict"]["data"] == [1, 0]
    assert len(set(outputs["prediction_id"]["data"])) == 2


def test_one_matrix_in_the_order_of_the_signature_is_the_same(http: httpx.Client) -> None:
    matrix = [{"name": "input-0", "shape": [2, 2], "datatype": "FP32", "data": [25.0, 1.0, 45.0, 3.0]}]
    one, other = infer(http).json(), infer(http, inputs=matrix).json()
    assert one["outputs"][1]["name"] == "score"
    assert one["outputs"][1]["data"] == pytest.approx(other["outputs"][1]["data"])


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
    assert httpx.get(f"{server.url}/v2/models/churn", timeout=60).status_code == 401
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
        scores = {tuple(infer(http, path="/v2/models/churn/versions/1/infer").json()["outputs"][1]["data"]) for _ in range(12)}
        assert len(scores) == 1
        assert infer(http, path="/v2/models/churn/versions/2/infer").json()["model_version"] == "2"
        assert infer(http, path="/v2/models/churn/versions/9/infer").status_code == 404
    finally:
        client.serving.abort_canary("churn")
        client.close()


def test_outputs_come_in_the_order_they_were_asked_for(http: httpx.Client) -> None:
    names = ["prediction_id", "probabilities", "label", "arm", "version", "score"]
    answer = infer(http, outputs=[{"name": name} for name in names]).json()
    assert [tensor["name"] for tensor in answer["outputs"]] == names
    held = {tensor["name"]: tensor for tensor in answer["outputs"]}
    assert held["probabilities"]["shape"] == [2, 2]
    assert held["probabilities"]["data"][1::2] == held["score"]["data"]
    assert (held["label"]["data"], held["arm"]["data"], held["version"]["data"]) == ([1, 0], ["stable"] * 2, [1, 1])
    assert infer(http, outputs=[]).json()["outputs"][0]["name"] == "predict"


def test_a_large_answer_is_compressed_for_who_accepts_it(http: httpx.Client) -> None:
    tensor = {"name": "x", "shape": [500, 2], "datatype": "FP64", "data": [25.0, 1.0] * 500}
    for coding in ("gzip", "deflate"):
        answer = http.post("/v2/models/churn/infer", json={"inputs": [tensor]}, headers={"accept-encoding": coding})
        assert answer.headers["content-encoding"] == coding
        assert len(answer.json()["outputs"][0]["data"]) == 500
    assert (
        "content-encoding" not in http.post("/v2/models/churn/infer", json={"inputs": [tensor]}, headers={"accept-encoding": "br"}).headers
    )


def test_the_repository_belongs_to_who_may_deploy(http: httpx.Client, server: RunningServer) -> None:
    client = connect(server.url, server.token)
    client.governance.create_principal("caller", kind="service", role="editor")
    token = client.governance.create_token("caller").secret
    client.close()
    caller = {"authorization": f"Bearer {token}"}
    assert http.post("/v2/models/churn/infer", json={}, headers=caller).status_code == 400
    assert http.post("/v2/repository/models/churn/unload", headers=caller).status_code == 403
    assert http.get("/v2/models/churn/ready").json() == {"name": "churn", "ready": True}
    assert http.post("/v2/repository/models/nobody/load").status_code == 404
    assert http.post("/v2/repository/models/churn/load", json={"parameters": {"config": "{}"}}).status_code == 400


def test_statistics_count_what_was_answered(http: httpx.Client) -> None:
    def counted() -> tuple[int, int, int]:
        (stats,) = http.get("/v2/models/churn/stats").json()["model_stats"]
        return stats["inference_count"], stats["inference_stats"]["success"]["count"], stats["inference_stats"]["fail"]["count"]

    before = counted()
    infer(http)
    infer(http, inputs=[{"name": "age", "shape": [1], "datatype": "FP64", "data": [1.0]}])
    after = counted()
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 1, 1]


def test_statistics_tell_where_the_time_goes(http: httpx.Client) -> None:
    def told() -> tuple[dict[str, tuple[int, int]], dict[int, dict[str, dict[str, int]]], int]:
        (stats,) = http.get("/v2/models/churn/stats").json()["model_stats"]
        parts = {name: (one["count"], one["ns"]) for name, one in stats["inference_stats"].items()}
        return parts, {one.pop("batch_size"): one for one in stats["batch_stats"]}, stats["execution_count"]

    parts, batches, runs = told()
    tensor = {"name": "x", "shape": [7, 2], "datatype": "FP64", "data": [25.0, 1.0] * 7}
    for _ in range(5):
        infer(http, inputs=[tensor])
    now, sizes, more = told()
    spent = {name: (now[name][0] - count, now[name][1] - ns) for name, (count, ns) in parts.items()}
    assert more - runs == 5
    assert [spent[name][0] for name in ("success", "queue", "compute_input", "compute_infer", "compute_output")] == [5] * 5
    pieces = [spent[name][1] for name in ("compute_input", "compute_infer", "compute_output")]
    assert min(pieces) > 0
    assert sum(pieces) + spent["queue"][1] <= spent["success"][1]
    before = batches.get(7, {}).get("compute_infer", {"count": 0, "ns": 0})
    assert sizes[7]["compute_infer"]["count"] - before["count"] == 5
    assert sizes[7]["compute_infer"]["ns"] - before["ns"] == pytest.approx(spent["compute_infer"][1], abs=10)
    assert sizes[7]["compute_input"]["ns"] > 0
    assert sizes[7]["compute_output"]["ns"] > 0


def test_a_prediction_is_found_by_its_id_and_keeps_its_event_time(http: httpx.Client, server: RunningServer) -> None:
    body = {"dataframe_records": [{"age": 25.0, "visits": 1}], "prediction_ids": ["customer-7"], "event_times": ["2013-07-01T08:00:00Z"]}
    assert http.post("/deployments/churn/invocations", json=body).headers["x-rung-prediction-ids"] == "customer-7"
    client = connect(server.url, server.token)
    found = client.serving.find("customer-7")
    client.close()
    assert found.event_time.isoformat() == "2013-07-01T08:00:00+00:00"
    assert found.inputs == {"age": 25.0, "visits": 1.0}
