"""Open Inference v2 over HTTP, asked by tritonclient: JSON, binary tensors, compression, repository, statistics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.protocol.oip.conftest import MODEL, Inference, X

triton = pytest.importorskip("tritonclient.http")
plugin = pytest.importorskip("tritonclient._plugin")
CLASSES = MODEL.predict(X).tolist()


class Headers(plugin.InferenceServerClientPlugin):
    """Sends headers with every request."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers

    def __call__(self, request: Any) -> None:
        request.headers.update(self.headers)


@pytest.fixture
def client(inference: Inference) -> Iterator[Any]:
    opened = triton.InferenceServerClient(inference.http, concurrency=8)
    opened.register_plugin(Headers(inference.bearer))
    yield opened
    opened.close()


def tensor(values: Any = X, *, binary: bool = True, datatype: str = "FP64") -> Any:
    made = triton.InferInput("x", list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def output(name: str, *, binary: bool = True) -> Any:
    return triton.InferRequestedOutput(name, binary_data=binary)


def test_server_and_model_are_ready_and_described(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("churn")
    assert client.is_model_ready("churn", "1")
    assert not client.is_model_ready("churn", "9")
    assert not client.is_model_ready("nobody")
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(client.get_server_metadata()["extensions"])
    described = client.get_model_metadata("churn")
    assert described["inputs"] == [{"name": name, "datatype": "FP64", "shape": [-1]} for name in "abc"]
    assert described["outputs"][:2] == [
        {"name": "predict", "datatype": "INT64", "shape": [-1]},
        {"name": "score", "datatype": "FP64", "shape": [-1]},
    ]


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_json_and_binary_are_answered_alike(client: Any, *, binary_in: bool, binary_out: bool) -> None:
    wanted = [output("score", binary=binary_out), output("predict", binary=binary_out)]
    found = client.infer("churn", [tensor(binary=binary_in)], outputs=wanted, request_id="7")
    assert found.get_response()["id"] == "7"
    assert [one["name"] for one in found.get_response()["outputs"]] == ["score", "predict"]
    assert found.as_numpy("predict").tolist() == CLASSES
    np.testing.assert_allclose(found.as_numpy("score"), MODEL.predict_proba(X)[:, 1], atol=1e-12)


def test_without_outputs_all_come_in_binary(client: Any) -> None:
    found = client.infer("churn", [tensor()])
    assert found.as_numpy("predict").tolist() == CLASSES
    assert len({key.decode() for key in found.as_numpy("prediction_id")}) == len(X)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_bodies_are_compressed_both_ways(client: Any, coding: str) -> None:
    many = np.tile(X, (100, 1))
    found = client.infer("churn", [tensor(many)], request_compression_algorithm=coding, response_compression_algorithm=coding)
    assert found.as_numpy("predict").tolist() == CLASSES * 100


def test_columns_may_come_one_by_one(client: Any) -> None:
    columns = []
    for place, name in enumerate("cab"):
        made = triton.InferInput(name, [4], "FP64")
        made.set_data_from_numpy(np.ascontiguousarray(X[:, [2, 0, 1][place]]), binary_data=place == 1)
        columns.append(made)
    assert client.infer("churn", columns).as_numpy("predict").tolist() == CLASSES


def test_requests_in_flight_stay_apart(client: Any) -> None:
    sent = []
    for number in range(64):
        rows = np.ascontiguousarray(X[: 1 + number % 4])
        wanted = [[output("predict")], [output("score")], [output("score"), output("predict")]][number % 3]
        sent.append((rows, wanted, client.async_infer("churn", [tensor(rows)], outputs=wanted, request_id=str(number))))
    for number, (rows, wanted, pending) in enumerate(sent):
        found = pending.get_result()
        assert found.get_response()["id"] == str(number)
        assert [one["name"] for one in found.get_response()["outputs"]] == [one.name() for one in wanted]
        np.testing.assert_allclose(
            found.as_numpy(wanted[0].name()),
            (MODEL.predict(rows) if wanted[0].name() == "predict" else MODEL.predict_proba(rows)[:, 1]),
            atol=1e-12,
        )


def test_mistakes_are_told(client: Any) -> None:
    wrong = [
        ("nobody", [tensor()], None, "nobody"), ("churn", [tensor(X[:, 1:].copy())], None, "expected 3"),
        ("churn", [tensor()], [output("colour")], "colour"), ("churn", [tensor(X.astype(np.bool_), datatype="BOOL")], None, "BOOL"),
    ]  # fmt: skip
    for model, inputs, outputs, said in wrong:
        with pytest.raises(Exception, match=said):
            client.infer(model, inputs, outputs=outputs)


def test_a_model_is_unloaded_and_loaded_for_everybody(client: Any) -> None:
    assert {"name": "churn", "version": "1", "state": "READY", "reason": ""} in client.get_model_repository_index()
    client.unload_model("churn")
    assert not client.is_model_ready("churn")
    assert next(one for one in client.get_model_repository_index() if one["name"] == "churn")["state"] == "UNAVAILABLE"
    with pytest.raises(Exception, match="churn"):
        client.infer("churn", [tensor()])
    client.load_model("churn")
    assert client.infer("churn", [tensor()]).as_numpy("predict").tolist() == CLASSES


def test_statistics_are_counted(client: Any) -> None:
    client.infer("churn", [tensor()])
    (before,) = client.get_inference_statistics("churn")["model_stats"]
    client.infer("churn", [tensor()])
    (after,) = client.get_inference_statistics("churn", "1")["model_stats"]
    assert after["inference_count"] - before["inference_count"] == len(X)
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    assert after["last_inference"] >= before["last_inference"] > 1_600_000_000_000
