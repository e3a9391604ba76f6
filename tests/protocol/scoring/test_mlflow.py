"""MLflow's own scoring client, and its forms of POST /invocations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.client.client import connect
from tests.servers import RunningServer, running_server

pd = pytest.importorskip("pandas")
client_module = pytest.importorskip("mlflow.pyfunc.scoring_server.client")
X = (np.arange(12.0).reshape(4, 3) * 7) % 5
MODEL = LogisticRegression().fit(np.tile(X, (25, 1)), np.tile([0, 1, 0, 1], 25))
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
CLASSES = MODEL.predict(X).tolist()


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """MLflow's client sends no token, so this server lets everybody on the machine in."""
    folder = tmp_path_factory.mktemp("scoring")
    with running_server(folder / "home", folder, "--no-auth", settings=["--set", "server.grpc_port=0"]) as running:
        client = connect(running.url, running.token)
        client.registry.register(
            "churn", MODEL, example=pl.DataFrame(np.tile(X, (25, 1)), schema=["a", "b", "c"], orient="row"), label="stays"
        )
        client.serving.deploy("churn", "churn", 1, environment="staging")
        client.close()
        yield running


@pytest.fixture
def http(open_server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=open_server.url, timeout=60) as opened:
        yield opened


def test_the_client_pings_asks_the_version_and_invokes(open_server: RunningServer) -> None:
    address = urlsplit(open_server.url)
    client = client_module.ScoringServerClient(address.hostname, address.port)
    client.ping()
    assert client.get_version().count(".") == 2
    assert client.invoke(FRAME).get_predictions()[0].tolist() == CLASSES
    assert client.invoke(FRAME[["c", "a", "b"]]).get_predictions()[0].tolist() == CLASSES


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": FRAME.to_dict(orient="split")}, {"dataframe_records": FRAME.to_dict(orient="records")}, {"inputs": X.tolist()},
        {"instances": X.tolist()}, {"inputs": FRAME.to_dict(orient="list")}, {"instances": FRAME.to_dict(orient="records"), "params": {"k": 1}},
    ],
)  # fmt: skip
def test_every_form_is_answered_with_predictions_alone(http: httpx.Client, body: Any) -> None:
    assert http.post("/invocations", json=body).json() == {"predictions": CLASSES}


@pytest.mark.parametrize(
    ("content", "media", "status"),
    [
        (b'{"inputs": [[1]], "instances": [[1]]}', "application/json", 400), (b"[1, 2]", "application/json", 400), (b"{", "application/json", 400),
        (b'{"inputs": [[1.0]]}', "application/json", 400), (b'{"inputs": [["a", "b", "c"]]}', "application/json", 400), (b"x", "text/plain", 415),
        (b'{"inputs": [[1, 2, 3]]}', "application/json; charset=latin-1", 415), (b'{"inputs": [[1, 2, 3]]}', "application/json; format=pandas", 415),
        (b"PAR1", "application/vnd.apache.parquet", 400), (b"\xff\xfe,", "text/csv", 400), (b'{"inputs": [[1, NaN, Infinity]]}', "application/json", 400),
    ],
)  # fmt: skip
def test_mistakes_are_told_as_mlflow_tells_them(http: httpx.Client, content: bytes, media: str, status: int) -> None:
    answer = http.post("/invocations", content=content, headers={"content-type": media})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error_code"] == "BAD_REQUEST"
        assert answer.json()["message"]


def test_nan_from_the_client_is_a_missing_number(open_server: RunningServer) -> None:
    address = urlsplit(open_server.url)
    frame = FRAME.astype(float).copy()
    frame.iloc[0, 1] = np.nan
    with pytest.raises(Exception, match="does not take"):  # this model was never given one
        client_module.ScoringServerClient(address.hostname, address.port).invoke(frame)


def test_tables_come_and_go(http: httpx.Client) -> None:
    frame = pl.DataFrame(X, schema=["a", "b", "c"])
    media = "application/vnd.apache.arrow.stream"
    into = __import__("io").BytesIO()
    frame.write_ipc_stream(into)
    answer = http.post("/invocations?outputs=predict,score", content=into.getvalue(), headers={"content-type": media, "accept": media})
    found = pl.read_ipc_stream(answer.content)
    assert found["predict"].to_list() == CLASSES
    assert found["score"].to_list() == pytest.approx(MODEL.predict_proba(X)[:, 1].tolist())
    lines = http.post("/invocations", content=frame.write_csv().encode(), headers={"content-type": "text/csv", "accept": "text/csv"})
    assert lines.text.split() == [str(one) for one in CLASSES]
    rows = "\n".join(str(row) for row in X.tolist()).encode()
    told = http.post("/invocations", content=rows, headers={"content-type": "application/jsonlines", "accept": "application/jsonlines"})
    assert told.text.split("\n") == [str(one) for one in CLASSES]
