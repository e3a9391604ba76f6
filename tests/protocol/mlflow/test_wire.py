"""What the bytes look like, and what becomes of bytes that nobody should send: an answer below 500, always."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient

from rung.client.client import Client
from rung.client.transports import HttpTransport
from tests.protocol.mlflow.conftest import Served, Wire, both

pytestmark = pytest.mark.xdist_group("mlflow-wire")
POINT = {"key": "m", "value": 0.5, "timestamp": 1, "step": 0}


def test_health_and_version_are_plain_text(wire: Wire) -> None:
    assert wire.send("GET", "/health").text == "OK"
    assert wire.send("GET", "/version").text[:1].isdigit()


def test_the_server_tells_what_it_can(wire: Wire) -> None:
    answer = wire.send("GET", "/api/3.0/mlflow/server-info")
    assert answer.status_code == 404 or isinstance(answer.json(), dict)


def test_an_error_is_json_with_code_and_message(wire: Wire) -> None:
    answer = wire.get("experiments/get", experiment_id="987654321")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert "987654321" in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("experiments/create", {}),
        ("experiments/create", {"name": 123}),
        ("experiments/create", {"name": ""}),
        ("experiments/create", {"name": None}),
        ("runs/log-metric", {"key": "m"}),
        ("runs/log-metric", {"run_id": "a" * 32, "key": "m", "value": 1.0}),
        ("runs/log-metric", {"run_id": "a" * 32, "key": "m", "value": "x", "timestamp": 1}),
        ("runs/log-metric", {"run_id": "a" * 32, "key": "m", "value": 1.0, "timestamp": "soon"}),
        ("runs/log-metric", {"run_id": "a" * 32, "key": "m", "value": 1.0, "timestamp": 1, "step": 1.5}),
        ("runs/log-metric", {"run_id": "a" * 32, "key": "m", "value": 1.0, "timestamp": 1, "step": 2**63}),
        ("runs/log-parameter", {"run_id": "a", "value": "1"}),
        ("runs/set-tag", {"run_id": "a", "key": 5, "value": "1"}),
        ("runs/log-batch", {"run_id": 7}),
        ("runs/search", {"experiment_ids": "not a list"}),
        ("runs/search", {"experiment_ids": [], "max_results": "many"}),
        ("registered-models/create", {"name": ""}),
        ("model-versions/create", {"name": "only"}),
        ("logged-models", {"name": "m"}),
    ],
)  # fmt: skip
def test_missing_and_mistyped_fields_are_the_callers_error(wire: Wire, path: str, body: object) -> None:
    answer = wire.post(path, body)
    assert (answer.status_code, answer.json().get("error_code")) == (400, "INVALID_PARAMETER_VALUE"), answer.text


@pytest.mark.parametrize("route", ["runs/create", "runs/log-metric", "runs/log-batch", "runs/search", "experiments/create"])
@pytest.mark.parametrize(
    "body",
    [b"{no json", b"[1, 2]", b'"text"', b"7", b"null", b"\xff\xfe", b'{"run_id": "\xff"}', b"[" * 100_000, b'{"a":' * 50_000, b'{"run_id":' + b"9" * 5000 + b"}"],
    ids=["broken", "list", "text", "number", "null", "no-utf8", "no-utf8-inside", "deep-lists", "deep-objects", "long-number"],
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_refused_in_words(wire: Wire, route: str, body: bytes) -> None:
    answer = wire.send("POST", f"/api/2.0/mlflow/{route}", data=body, headers={"Content-Type": "application/json"})
    ignored = answer.status_code == 200 and b"run_id" in body and route in {"runs/create", "runs/search"}  # a field they do not know
    assert answer.status_code < 500, answer.text[:300]
    assert ignored or answer.json()["message"]
    assert not any(word in answer.text.lower() for word in ("sqlite", "sqlalchemy", "traceback", "select "))


def test_an_unknown_route_is_not_found(wire: Wire) -> None:
    assert wire.get("nothing/here").status_code in {404, 501}


@both
def test_integers_leave_as_numbers_and_are_taken_as_texts(wire: Wire, run: str) -> None:
    point = {"run_id": run, "key": "m", "value": 0.5, "timestamp": "1700000000000", "step": "9007199254740993"}
    assert wire.post("runs/log-metric", point).status_code == 200
    (metric,) = wire.get("runs/get", run_id=run).json()["run"]["data"]["metrics"]
    assert (metric["timestamp"], metric["step"]) == (1_700_000_000_000, 9_007_199_254_740_993)


@both
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("quoted", [True, False], ids=["as-text", "bare"])
def test_special_numbers_leave_as_json(wire: Wire, run: str, value: str, quoted: bool) -> None:
    text = f'"{value}"' if quoted else value
    for route, body in (
        ("log-metric", f'{{"run_id": "{run}", "key": "m", "value": {text}, "timestamp": 1, "step": 0}}'),
        ("log-batch", f'{{"run_id": "{run}", "metrics": [{{"key": "b", "value": {text}, "timestamp": 1, "step": 0}}]}}'),
    ):
        answer = wire.send("POST", f"/api/2.0/mlflow/runs/{route}", data=body.encode(), headers={"Content-Type": "application/json"})
        assert answer.status_code == 200, answer.text
    metrics = json.loads(wire.get("runs/get", run_id=run).text, parse_constant=pytest.fail)["run"]["data"]["metrics"]
    for metric in metrics:
        stored = metric["value"]
        assert stored == "NaN" if value == "NaN" else abs(float(stored)) >= 1.7976931348623157e308


def test_a_run_id_has_two_names(wire: Wire, run: str) -> None:
    info = wire.get("runs/get", run_uuid=run).json()["run"]["info"]
    assert info["run_id"] == info["run_uuid"] == run
    assert wire.post("runs/set-tag", {"run_uuid": run, "key": "k", "value": "v"}).status_code == 200
    assert wire.post("runs/log-metric", {"run_uuid": run, **POINT}).status_code == 200


def test_enums_are_names(wire: Wire, run: str) -> None:
    assert wire.get("runs/get", run_id=run).json()["run"]["info"]["status"] == "RUNNING"
    assert wire.post("runs/update", {"run_id": run, "status": "KILLED", "end_time": 5}).json()["run_info"]["status"] == "KILLED"
    assert wire.post("runs/update", {"run_id": run, "status": "SLEEPING"}).status_code == 400


@both
def test_the_history_is_paged(wire: Wire, run: str) -> None:
    points = [{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(25)]
    wire.post("runs/log-batch", {"run_id": run, "metrics": points})
    seen, token = [], {}
    for _ in range(4):
        page = wire.get("metrics/get-history", run_id=run, metric_key="m", max_results=10, **token).json()
        seen += [m["step"] for m in page.get("metrics", [])]
        token = {"page_token": page.get("next_page_token")}
        if not token["page_token"]:
            break
    assert seen == list(range(25))


@pytest.mark.parametrize("token", ["?nonsense?", "eyJvZmZzZXQiOiAtMX0=", "[[0,1]", "\x00", "a" * 100_000])
def test_a_wrong_page_token_is_the_callers_error(wire: Wire, experiment: str, run: str, token: str) -> None:
    answer = wire.post("runs/search", {"experiment_ids": [experiment], "page_token": token})
    assert 400 <= answer.status_code < 500
    if len(token) < 1000:
        wire.post("runs/log-metric", {"run_id": run, **POINT})
        assert 400 <= wire.get("metrics/get-history", run_id=run, metric_key="m", page_token=token).status_code < 500
        assert 400 <= wire.get("experiments/search", page_token=token).status_code < 500


def test_experiments_are_searched_by_get_too(wire: Wire, mlflow_client: MlflowClient, experiment: str) -> None:
    name = mlflow_client.get_experiment(experiment).name
    answer = wire.get("experiments/search", max_results=10, filter=f"name = '{name}'")
    assert [e["experiment_id"] for e in answer.json()["experiments"]] == [experiment]


@both
def test_a_chart_history_is_thinned_and_keeps_the_ends(wire: Wire, run: str) -> None:
    points = [{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(1000)]
    wire.post("runs/log-batch", {"run_id": run, "metrics": points})
    query = {"run_ids": [run], "metric_key": "m", "max_results": 50}
    answer = wire.send("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", params=query)
    steps = [m["step"] for m in answer.json()["metrics"]]
    assert (steps[0], steps[-1]) == (0, 999)
    assert len(steps) <= 60
    unknown = wire.send("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", params={**query, "metric_key": "never"})
    assert (unknown.status_code, unknown.json().get("metrics", [])) == (200, [])


def test_the_histories_of_several_runs_come_together_by_the_name_the_page_of_mlflow_uses(wire: Wire, experiment: str) -> None:
    runs = sorted(wire.post("runs/create", {"experiment_id": experiment}).json()["run"]["info"]["run_id"] for _ in range(2))
    for run in runs:
        wire.post("runs/log-batch", {"run_id": run, "metrics": [{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(3)]})
    address, query = "/ajax-api/2.0/mlflow/metrics/get-history-bulk", {"run_id": runs[::-1], "metric_key": "m"}
    found = wire.send("GET", address, params=query).json()["metrics"]
    assert [(m["run_id"], m["step"]) for m in found] == [(run, step) for run in runs for step in range(3)]
    assert len(wire.send("GET", address, params={**query, "max_results": 4}).json()["metrics"]) == 4
    assert wire.send("GET", address, params={"metric_key": "m"}).json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_fields_nobody_knows_are_ignored_as_a_newer_client_may_send_them(wire: Wire, experiment: str) -> None:
    answer = wire.post("runs/create", {"experiment_id": experiment, "start_time": 5, "invented_later": {"deep": [1]}})
    assert answer.status_code == 200
    assert answer.json()["run"]["info"]["start_time"] == 5


@both
@pytest.mark.parametrize(
    "body",
    [
        {"key": "k", "value": "x" * 1_000_000},
        {"key": "k" * 251, "value": "v"},
        {"key": "k" * 1_000_000, "value": "v"},
        {"key": "nul\0key", "value": "v"},
        {"key": "k", "value": "nul\0value"},
        {"key": "k", "value": "\ud800"},
        {"key": "k", "value": {"an": "object"}},
        {"key": "k", "value": None},
        {"key": None, "value": "v"},
    ],
    ids=["value-1MB", "key-251", "key-1MB", "nul-key", "nul-value", "lone-surrogate", "object", "null-value", "null-key"],
)  # fmt: skip
def test_odd_tags_and_params_are_kept_or_refused_never_a_fault(wire: Wire, run: str, body: dict[str, object]) -> None:
    for route in ("runs/set-tag", "runs/log-parameter", "runs/delete-tag"):
        answer = wire.post(route, {"run_id": run, **body})
        assert answer.status_code < 500, (route, answer.text[:300])
        assert answer.status_code == 200 or answer.json()["error_code"], answer.text[:300]
    assert wire.get("runs/get", run_id=run).status_code == 200


@both
@pytest.mark.parametrize("field", ["value", "timestamp", "step"])
@pytest.mark.parametrize(
    "text", ["9" * 400, "-" + "9" * 400, "1e999", "1" + "0" * 5000, "0." + "1" * 5000, '"' + "9" * 400 + '"', "true", "[]"]
)
def test_numbers_of_any_size_are_kept_or_refused_never_a_fault(wire: Wire, run: str, field: str, text: str) -> None:
    parts = {"value": "1.0", "timestamp": "1", "step": "0", field: text}
    point = ", ".join(f'"{name}": {part}' for name, part in parts.items())
    for route, body in (
        ("log-metric", f'{{"run_id": "{run}", "key": "m", {point}}}'),
        ("log-batch", f'{{"run_id": "{run}", "metrics": [{{"key": "m", {point}}}]}}'),
    ):
        answer = wire.send("POST", f"/api/2.0/mlflow/runs/{route}", data=body.encode(), headers={"Content-Type": "application/json"})
        assert answer.status_code in {200, 400}, (route, answer.text[:300])
    assert wire.get("runs/get", run_id=run).status_code == 200


def test_ten_thousand_metrics_with_one_bad_one_leave_nothing_behind(wire: Wire, run: str) -> None:
    metrics = [{"key": f"m{i}", "value": 1.0, "timestamp": 1, "step": 0} for i in range(10_000)]
    metrics[7_777] = {**metrics[7_777], "value": "not a number"}
    answer = wire.post("runs/log-batch", {"run_id": run, "metrics": metrics})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "metrics" not in wire.get("runs/get", run_id=run).json()["run"]["data"]


@pytest.mark.parametrize("run_id", ["", "x", "../../etc/passwd", "0" * 31, "G" * 32, "0" * 100_000, "a:1", "%00", "\0"])
def test_ids_that_are_none_are_not_found_or_refused(wire: Wire, run_id: str) -> None:
    assert wire.post("runs/log-metric", {"run_id": run_id, **POINT}).status_code in {400, 404}
    assert wire.post("runs/delete", {"run_id": run_id}).status_code in {400, 404}
    if len(run_id) < 1000:
        assert wire.get("runs/get", run_id=run_id).status_code in {400, 404}


@pytest.mark.parametrize("experiment_id", ["", "x", "-1", "1.5", "9" * 400, "٣"])
def test_experiment_ids_that_are_none_are_not_found_or_refused(wire: Wire, experiment_id: str) -> None:
    assert wire.get("experiments/get", experiment_id=experiment_id).status_code in {400, 404}
    assert wire.post("runs/search", {"experiment_ids": [experiment_id]}).status_code in {200, 400, 404}


def test_runs_of_another_project_are_not_found(
    server: Served, wire: Wire, run: str, rung_client: Client, fresh: Callable[[str], str]
) -> None:
    name = fresh("other")
    rung_client.governance.create_project(name)
    other = Wire(f"{server.url}/p/{name}", server.token)
    assert other.get("runs/get", run_id=run).status_code == 404
    assert other.post("runs/log-metric", {"run_id": run, **POINT}).status_code == 404
    assert other.post("runs/log-batch", {"run_id": run, "metrics": [POINT]}).status_code == 404
    assert other.post("runs/delete", {"run_id": run}).status_code == 404
    assert other.get("metrics/get-history", run_id=run, metric_key="m").json().get("metrics", []) == []
    theirs = other.post("runs/create", {"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    assert wire.get("runs/get", run_id=theirs).status_code == 404
    with Client(HttpTransport(server.url, server.token, name)) as ours:
        assert ours.tracking.get(theirs).id == theirs


@pytest.mark.parametrize(
    "header", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic !!!"}, {"Authorization": "Basic cnVuZzp4"}]
)
def test_without_a_good_token_nothing_is_told(server: Served, header: dict[str, str]) -> None:
    stranger = Wire(server.url, "")
    for answer in (
        stranger.send("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", headers=header),
        stranger.send("POST", "/api/2.0/mlflow/runs/log-metric", headers=header, json={"run_id": "a" * 32, **POINT}),
        stranger.send("POST", "/api/2.0/mlflow/runs/log-batch", headers=header, json={"run_id": "a" * 32, "metrics": [POINT]}),
        stranger.send("POST", "/api/2.0/mlflow/runs/search", headers=header, json={"experiment_ids": ["0"]}),
    ):
        assert answer.status_code in {401, 403}
        assert answer.json()["error_code"] in {"UNAUTHENTICATED", "PERMISSION_DENIED"}


def test_the_token_travels_as_basic_password_too(server: Served) -> None:
    answer = Wire(server.url.replace("//", f"//anybody:{server.token}@"), "").get("experiments/get", experiment_id="0")
    assert answer.json()["experiment"]["name"] == "Default"


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_a_client_that_hangs_up_in_the_middle_of_a_batch_leaves_nothing(server: Served, wire: Wire, run: str, share: float) -> None:
    body = json.dumps({"run_id": run, "metrics": [{**POINT, "key": f"m{i}"} for i in range(900)]}).encode()
    head = (
        f"POST /api/2.0/mlflow/runs/log-batch HTTP/1.1\r\nHost: {urlsplit(server.url).netloc}\r\nAuthorization: Bearer {server.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + body[: int(len(body) * share)])
    assert wire.get("runs/get", run_id=run).json()["run"]["data"].get("metrics", []) == []
    assert wire.post("runs/log-metric", {"run_id": run, **POINT}).status_code == 200


def test_answers_on_a_kept_connection_do_not_wait_for_the_clients_acknowledgement(server: Served) -> None:
    # Nagle's algorithm would hold each of these back by about 40 ms: 50 of them last two seconds then, and a tenth otherwise.
    import time

    import requests

    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {server.token}"
        session.get(f"{server.url}/health")
        waits = []
        for _ in range(20):
            before = time.perf_counter()
            session.get(f"{server.url}/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"})
            waits.append(time.perf_counter() - before)
    assert min(waits) < 0.035
