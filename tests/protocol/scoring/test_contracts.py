"""SageMaker, Vertex AI, Azure ML, KServe's first protocol and Seldon's, each by its own words."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.client.client import connect
from tests.servers import RunningServer

X = (np.arange(12.0).reshape(4, 3) * 7) % 5
MODEL = LogisticRegression().fit(np.tile(X, (25, 1)), np.tile([0, 1, 0, 1], 25))
CLASSES = MODEL.predict(X).tolist()
ROWS = X.tolist()


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    client = connect(server.url, server.token)
    client.registry.register("churn", MODEL, example=pl.DataFrame(np.tile(X, (25, 1)), schema=["a", "b", "c"], orient="row"), label="stays")
    for name in ("churn", "other"):
        client.serving.deploy(name, "churn", 1, environment="staging")
    client.close()
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {server.token}"}, timeout=60) as opened:
        yield opened


def test_sagemaker_headers_name_the_prediction_and_come_back(http: httpx.Client) -> None:
    headers = {
        "x-amzn-sagemaker-inference-id": "truth-1",
        "x-amzn-sagemaker-custom-attributes": "trace=7",
        "x-amzn-sagemaker-target-model": "churn.tar.gz",
    }
    answer = http.post("/invocations", json={"instances": ROWS[:1]}, headers=headers)
    assert answer.json() == {"predictions": CLASSES[:1]}
    assert answer.headers["x-rung-prediction-ids"] == "truth-1"
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == "trace=7"
    assert http.get("/ping").status_code == 200


def test_sagemaker_multi_model_paths(http: httpx.Client) -> None:
    assert http.post("/models/churn/invoke", json={"instances": ROWS}).json() == {"predictions": CLASSES}
    assert http.post("/models/nobody/invoke", json={"instances": ROWS}).status_code == 404
    assert http.delete("/models/other").status_code == 200
    assert http.post("/models/other/invoke", json={"instances": ROWS}).status_code == 404
    assert http.post("/v2/repository/models/other/load").status_code == 200
    assert http.post("/models/other/invoke", json={"instances": ROWS}).json() == {"predictions": CLASSES}


def test_vertex_answers_instances(http: httpx.Client) -> None:
    assert http.post("/deployments/churn/predict", json={"instances": ROWS, "parameters": {"k": 1}}).json() == {"predictions": CLASSES}
    named = http.post("/deployments/churn/predict", json={"instances": ROWS[:1], "parameters": {"outputs": ["predict", "score"]}}).json()
    assert named["predictions"] == [{"predict": CLASSES[0], "score": pytest.approx(MODEL.predict_proba(X[:1])[0, 1])}]
    assert "error" in http.post("/deployments/churn/predict", json={"instance": ROWS}).json()


def test_azure_answers_an_array_and_its_header_names_the_deployment(http: httpx.Client) -> None:
    split = {"columns": ["c", "a", "b"], "index": [0, 1, 2, 3], "data": X[:, [2, 0, 1]].tolist()}
    for rows in (split, ROWS, [dict(zip("abc", row, strict=True)) for row in ROWS]):
        answer = http.post("/score", json={"input_data": rows}, headers={"azureml-model-deployment": "churn"})
        assert answer.json() == CLASSES
        assert answer.headers["azureml-model-deployment"] == "churn"
    assert (
        http.post("/score", json={"input_data": [[1]]}, headers={"azureml-model-deployment": "churn"}).json()["error"]["code"]
        == "BadArgument"
    )


def test_kserve_lists_tells_and_predicts(http: httpx.Client) -> None:
    assert http.get("/v1/models").json() == {"models": ["churn", "other"]}
    told = http.get("/v1/models/churn").json()
    assert (told["name"], told["ready"], told["model_version_status"][0]["state"]) == ("churn", True, "AVAILABLE")
    assert http.get("/v1/models/nobody").status_code == 404
    assert http.post("/v1/models/churn:predict", json={"instances": ROWS}).json() == {"predictions": CLASSES}
    assert http.post("/v1/models/churn/versions/1:predict", json={"inputs": {"a": [1.0], "b": [2.0], "c": [3.0]}}).status_code == 200
    assert http.post("/v1/models/churn:classify", json={"instances": ROWS}).status_code == 404


def test_seldon_answers_in_the_form_it_was_asked_and_takes_feedback(http: httpx.Client, server: RunningServer) -> None:
    path = "/deployments/churn/api/v1.0"
    asked = {"meta": {"puid": "s-1"}, "data": {"names": ["b", "a", "c"], "ndarray": X[:, [1, 0, 2]].tolist()}}
    answer = http.post(f"{path}/predictions", json=asked).json()
    assert answer["data"] == {"names": ["predict"], "ndarray": [[one] for one in CLASSES]}
    assert answer["meta"]["puid"] == "s-1"
    assert answer["meta"]["tags"]["prediction_ids"] == [f"s-1:{place}" for place in range(4)]
    tensor = http.post(f"{path}/predictions", json={"data": {"tensor": {"shape": [4, 3], "values": X.ravel().tolist()}}}).json()
    assert tensor["data"]["tensor"] == {"shape": [4, 1], "values": [float(one) for one in CLASSES]}
    truth = {"request": asked, "response": answer, "reward": 1.0, "truth": {"data": {"ndarray": [[0], [1], [0], [1]]}}}
    assert http.post(f"{path}/feedback", json=truth).json()["meta"]["tags"] == {"labels": 4}
    client = connect(server.url, server.token)
    (batch,) = (
        client.monitoring.label_batches("churn") if hasattr(client.monitoring, "label_batches") else client.monitoring.labels("churn")
    )
    client.close()
    assert (batch.rows, batch.source) == (4, "feedback")
    wrong = http.post(f"{path}/feedback", json={"response": answer})
    assert wrong.status_code == 400
    assert wrong.json()["status"]["status"] == "FAILURE"


def test_one_deployment_must_be_named_where_there_are_several(http: httpx.Client) -> None:
    told = http.post("/invocations", json={"instances": ROWS})
    assert told.status_code == 400
    assert "churn" in told.json()["message"]
    assert http.post("/invocations?deployment=other", json={"instances": ROWS}).json() == {"predictions": CLASSES}


@pytest.mark.parametrize(
    "path",
    [
        "/invocations?deployment=churn",
        "/deployments/churn/predict",
        "/deployments/churn/score",
        "/v1/models/churn:predict",
        "/deployments/churn/api/v1.0/predictions",
        "/v2/models/churn/infer",
    ],
)
@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[[[[", b"\xff", b'{"inputs": 7}', b'{"instances": [{}]}'])
def test_no_mistake_is_the_server_s(http: httpx.Client, path: str, content: bytes) -> None:
    answer = http.post(path, content=content, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.json()
    assert http.get(path.partition("?")[0]).status_code in {404, 405}
