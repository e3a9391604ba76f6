"""The MLflow protocol at the door: tokens, projects, rights, faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rung.app.opening import import_operations
from rung.client.client import Client
from rung.client.transports import HttpTransport
from rung.core.requests import OPERATIONS
from rung.governance.rules import VERBS
from rung.protocols.mlflow.errors import CODES
from rung.protocols.mlflow.hot import HOT_ROWS
from rung.protocols.mlflow.table import all_rows
from tests.servers import RunningServer, running_server

API = "/api/2.0/mlflow"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("door")
    with running_server(folder / "home", folder) as running:
        yield running


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {server.token}"}, timeout=30) as client:
        yield client


@pytest.fixture
def run(http: httpx.Client) -> str:
    return str(http.post(f"{API}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"])


def test_every_foreign_row_declares_the_requests_it_becomes() -> None:
    import_operations()
    for row in [*all_rows(), *HOT_ROWS]:
        assert row.becomes, row.path
        for kind in row.becomes:
            assert kind.permission.rpartition(":")[2] in VERBS
            assert OPERATIONS[kind.operation] is kind


def test_every_error_class_has_its_code() -> None:
    from rung.core.errors import ERRORS

    assert set(CODES) == set(ERRORS)


def test_without_a_token_nobody_comes_in(server: RunningServer) -> None:
    for path in ("/runs/log-metric", "/runs/create", "/runs/search"):
        answer = httpx.post(server.url + API + path, json={}, timeout=60)
        assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")


def test_basic_auth_carries_the_token_as_password(server: RunningServer) -> None:
    answer = httpx.get(server.url + f"{API}/experiments/get", params={"experiment_id": "0"}, auth=("rung", server.token), timeout=60)
    assert answer.json()["experiment"]["name"] == "Default"


def test_a_viewer_reads_and_does_not_write(server: RunningServer, run: str) -> None:
    owner = Client(HttpTransport(server.url, server.token))
    owner.governance.create_principal("ann", role="viewer")
    token = owner.governance.create_token("ann").secret
    headers = {"authorization": f"Bearer {token}"}
    point = {"run_id": run, "key": "m", "value": 1, "timestamp": 1, "step": 0}
    answer = httpx.post(server.url + f"{API}/runs/log-metric", json=point, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert httpx.get(server.url + f"{API}/runs/get", params={"run_id": run}, headers=headers, timeout=60).status_code == 200


def test_another_project_stands_in_front_of_the_path(server: RunningServer, http: httpx.Client, run: str) -> None:
    Client(HttpTransport(server.url, server.token)).governance.create_project("second")
    there = f"/p/second{API}"
    other = http.post(f"{there}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    assert http.get(f"{there}/runs/get", params={"run_id": other}).status_code == 200
    for path, key in ((API, other), (there, run)):
        answer = http.get(f"{path}/runs/get", params={"run_id": key})
        assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        point = {"run_id": key, "key": "m", "value": 1, "timestamp": 1, "step": 0}
        assert http.post(f"{path}/runs/log-metric", json=point).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{no json", b"[]", b"null", b'"x"', b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b'{"run_id": "' + b"9" * 400 + b'"}',
        b'{"run_id": "\\u0000"}', b'{"experiment_ids": [1, {}]}', b'{"max_results": ' + b"9" * 4500 + b"}",
    ],
)  # fmt: skip
def test_bad_bodies_are_the_callers_fault(http: httpx.Client, body: bytes) -> None:
    for path in ("/runs/log-metric", "/runs/log-batch", "/runs/create", "/runs/search", "/runs/update", "/experiments/create"):
        answer = http.post(API + path, content=body, headers={"content-type": "application/json"})
        if not (path == "/runs/create" and answer.status_code == 200) and not (path == "/runs/search" and answer.status_code == 200):
            assert 400 <= answer.status_code < 500, (path, body[:40], answer.text)
            assert answer.json()["error_code"]


@pytest.mark.parametrize(
    "point",
    [
        {"key": "a\x00b"}, {"key": "x" * 251}, {"key": "../up"}, {"value": "many"}, {"value": None}, {"timestamp": 10**30},
        {"timestamp": "soon"}, {"step": 2**63}, {"step": 0.5}, {"model_id": "m-nothing"},
    ],
)  # fmt: skip
def test_a_bad_point_is_refused_and_named(http: httpx.Client, run: str, point: dict[str, object]) -> None:
    good = {"key": "m", "value": 1.0, "timestamp": 1, "step": 0}
    answer = http.post(f"{API}/runs/log-batch", json={"run_id": run, "metrics": [good] * 9 + [{**good, **point}]})
    assert 400 <= answer.status_code < 500, answer.text
    assert http.get(f"{API}/runs/get", params={"run_id": run}).json()["run"]["data"].get("metrics") is None


def test_a_long_tag_is_cut_and_the_run_says_so(http: httpx.Client, run: str) -> None:
    assert http.post(f"{API}/runs/set-tag", json={"run_id": run, "key": "long", "value": "x" * (1 << 20)}).status_code == 200
    tags = {tag["key"]: tag["value"] for tag in http.get(f"{API}/runs/get", params={"run_id": run}).json()["run"]["data"]["tags"]}
    assert len(tags["long"]) == 8000
    assert "long" in tags["rung.cut"]


def test_a_server_without_auth_lets_everybody_in_and_says_so(tmp_path: Path) -> None:
    with running_server(tmp_path / "home", tmp_path, "--no-auth") as open_server:
        answer = httpx.post(open_server.url + f"{API}/runs/create", json={"experiment_id": "0"}, timeout=60)
        run = answer.json()["run"]["info"]["run_id"]
        point = {"run_id": run, "key": "m", "value": "NaN", "timestamp": 1, "step": 0}
        assert httpx.post(open_server.url + f"{API}/runs/log-metric", json=point, timeout=60).status_code == 200
        assert httpx.get(open_server.url + "/runs", timeout=60).status_code == 200
        assert (
            httpx.post(open_server.url + f"{API}/runs/create", json={}, headers={"authorization": "Bearer wrong"}, timeout=60).status_code
            == 401
        )
        assert json.loads(httpx.post(open_server.url + "/api/tracking.get_run", json={"run": run}, timeout=60).content)["metrics"] == {
            "m": None
        }
        stranger = httpx.post(open_server.url + f"{API}/runs/create", json={}, headers={"origin": "http://evil.example"}, timeout=60)
        assert stranger.status_code == 403
    assert "--no-auth" in (tmp_path / "server.log").read_text()
