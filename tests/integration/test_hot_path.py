"""The way of a request at a real server, over plain sockets: bodies too large, too slow, cut off, packed; models that fail or are slow."""

from __future__ import annotations

import gzip
import json
import socket
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from rung.client.client import connect
from tests.servers import RunningServer, running_server

COLUMNS = ("a", "b", "c")
ROWS = pl.DataFrame(np.random.default_rng(0).normal(size=(30_000, 3)), schema=list(COLUMNS))
TRUTH = (ROWS["a"] + ROWS["b"] > 0).to_numpy().astype(int)
SETTINGS = ("--set", "serving.header_s=4", "--set", "serving.body_s=4", "--set", "server.max_body_mb=8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("hot")
    with running_server(folder / "home", folder, settings=SETTINGS) as running:
        client = connect(running.url, running.token)
        fast = LogisticRegression().fit(ROWS.to_numpy(), TRUTH)
        slow = KNeighborsClassifier(n_neighbors=200, algorithm="brute").fit(ROWS.to_numpy(), TRUTH)
        for name, model in {"fast": fast, "slow": slow}.items():
            client.registry.register(name, model, example=ROWS.head(50), label="y")
            client.serving.deploy(name, name, 1, environment="staging")
        client.serving.deploy("batched", "fast", 1, environment="staging")
        client.serving.configure("batched", {"runtime.engine": "native", "runtime.batching": "batch"})
        client.close()
        yield running


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {server.token}"}, timeout=60) as opened:
        yield opened


def asked(*rows: list[float | None], **more: Any) -> dict[str, Any]:
    flat = [value for row in rows for value in row]
    return {"inputs": [{"name": "x", "shape": [len(rows), 3], "datatype": "FP64", "data": flat}], **more}


def opened(server: RunningServer) -> socket.socket:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    assert parts.port is not None
    made = socket.create_connection((parts.hostname, parts.port), timeout=60)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def head(server: RunningServer, length: int, *, path: str = "/v2/models/fast/infer") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: {urlsplit(server.url).netloc}\r\nauthorization: Bearer {server.token}\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def received(connection: socket.socket) -> bytes:
    """All until the server closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def _more(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    assert part, "the server has closed"
    return part


def whole(connection: socket.socket) -> bytes:
    """One answer, as long as it says it is."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += _more(connection)
    said, _, body = found.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in said.split(b"\r\n") if line.startswith(b"content-length"))
    while len(body) < length:
        body += _more(connection)
    return said + b"\r\n\r\n" + body


def answers(http: httpx.Client) -> bool:
    return http.post("/v2/models/fast/infer", json=asked([1.0, 2.0, 3.0])).status_code == 200


def test_a_prediction_is_answered_with_its_score(http: httpx.Client) -> None:
    model = LogisticRegression().fit(ROWS.to_numpy(), TRUTH)
    for _ in range(3):  # not known yet, then known: the long way and the short one
        answer = http.post("/v2/models/fast/infer", json=asked([0.1, 0.2, 0.3], [-1.0, -2.0, 0.0]))
        score = next(output for output in answer.json()["outputs"] if output["name"] == "score")
        assert score["data"] == pytest.approx(model.predict_proba([[0.1, 0.2, 0.3], [-1.0, -2.0, 0.0]])[:, 1].tolist())
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_requests_in_one_packet_and_a_request_in_many_are_answered_in_order(server: RunningServer, http: httpx.Client) -> None:
    assert answers(http)
    bodies = [json.dumps(asked([float(number), 0.0, 0.0], id=str(number))).encode() for number in range(5)]
    whole = b"".join(head(server, len(body)) + body for body in bodies)
    with opened(server) as connection:
        connection.sendall(whole)
        found = b""
        while found.count(b'"id":') < 5:
            found += _more(connection)
        for at in range(0, len(whole), 97):
            connection.sendall(whole[at : at + 97])
        while found.count(b'"id":') < 10:
            found += _more(connection)
    order = [int(part.split(b'"', 1)[0]) for part in found.split(b'"id":"')[1:]]
    assert order == [*range(5), *range(5)]


def test_requests_that_begin_alike_are_told_apart_by_their_bodies_and_whatever_comes_between(
    server: RunningServer, http: httpx.Client
) -> None:
    assert answers(http)
    bodies = [json.dumps(asked([float(number), 0.0, 0.0], id=str(number))).encode() for number in range(6)]
    one = head(server, len(bodies[0]))
    model = LogisticRegression().fit(ROWS.to_numpy(), TRUTH)

    def told(connection: socket.socket) -> dict[str, Any]:
        answer = whole(connection)
        assert status(answer) == 200
        found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return found

    with opened(server) as connection:
        for turn, body in enumerate(bodies):
            connection.sendall(one + body)
            found = told(connection)
            assert found["id"] == str(turn)
            assert found["outputs"][1]["data"] == pytest.approx(model.predict_proba([[float(turn), 0.0, 0.0]])[:, 1].tolist())
        connection.sendall(one)  # known, but its body comes later
        time.sleep(0.05)
        connection.sendall(bodies[1])
        assert told(connection)["id"] == "1"
        for at in range(len(one + bodies[2])):
            connection.sendall((one + bodies[2])[at : at + 1])
        assert told(connection)["id"] == "2"
        connection.sendall(b"\r\n" + one + bodies[3])  # an empty line before a request is allowed
        assert told(connection)["id"] == "3"
        connection.sendall(one + bodies[4] + b"GET /healthz HTT")
        assert told(connection)["id"] == "4"
        connection.sendall(b"P/1.1\r\nhost: " + urlsplit(server.url).netloc.encode() + b"\r\n\r\n")
        assert status(whole(connection)) == 200
        connection.sendall(one.replace(b"Bearer rung", b"Bearer gnur") + bodies[0])
        assert status(whole(connection)) == 401
        connection.sendall(one.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + bodies[5])
        answer = received(connection)
        assert (status(answer), b'"id":"5"' in answer, b"connection: close" in answer) == (200, True, True)


def test_a_trace_and_the_id_of_a_request_come_back_on_every_way(http: httpx.Client) -> None:
    assert answers(http)
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "x-request-id": "mine-7"}
    for body in (asked([1.0, 2.0, 3.0]), asked([1.0, 2.0, 3.0], parameters={}), asked([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])):
        for _ in range(2):
            answer = http.post("/v2/models/fast/infer", json=body, headers=headers)
            assert answer.headers["traceparent"].split("-")[1] == trace
            assert answer.headers["x-request-id"] == "mine-7"


def test_an_old_client_is_answered_and_cut(server: RunningServer, http: httpx.Client) -> None:
    assert answers(http)
    body = json.dumps(asked([1.0, 2.0, 3.0])).encode()
    with opened(server) as connection:
        connection.sendall(head(server, len(body)).replace(b"HTTP/1.1", b"HTTP/1.0") + body)
        answer = received(connection)
    assert (status(answer), b"connection: close" in answer) == (200, True)


@pytest.mark.parametrize("model", ["batched", "slow"])
def test_requests_that_wait_for_a_model_are_answered_in_their_order_too(server: RunningServer, http: httpx.Client, model: str) -> None:
    path = f"/v2/models/{model}/infer"
    assert http.post(path, json=asked([1.0, 2.0, 3.0])).status_code == 200
    bodies = [json.dumps(asked([float(number), 0.0, 0.0], id=str(number))).encode() for number in range(7)]
    with opened(server) as connection:
        connection.sendall(b"".join(head(server, len(body), path=path) + body for body in bodies))
        found = b""
        while found.count(b'"id":') < 7:
            found += _more(connection)
        connection.sendall(head(server, len(bodies[3]), path=path).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + bodies[3])
        last = received(connection)
    assert [int(part.split(b'"', 1)[0]) for part in found.split(b'"id":"')[1:]] == list(range(7))
    assert b"connection: close" in last
    assert b'"id":"3"' in last


def test_callers_who_leave_before_their_model_answered_harm_nobody(server: RunningServer, http: httpx.Client) -> None:
    body = json.dumps(asked([1.0, 2.0, 3.0])).encode()
    for _ in range(20):
        with opened(server) as connection:
            connection.sendall(head(server, len(body), path="/v2/models/slow/infer") + body)
    assert http.post("/v2/models/slow/infer", json=asked([1.0, 2.0, 3.0])).status_code == 200


def test_an_answer_that_takes_too_long_is_told_and_the_next_one_comes(server: RunningServer, http: httpx.Client) -> None:
    client = connect(server.url, server.token)
    client.serving.deploy("hasty", "slow", 1, environment="staging")
    client.serving.configure("hasty", {"limits.timeout_ms": 1})
    many = asked(*[[1.0, 2.0, 3.0]] * 1000)
    late = [http.post("/v2/models/hasty/infer", json=many) for _ in range(3)]
    assert {answer.status_code for answer in late} == {504}
    assert "0.001 s" in late[-1].json()["error"]
    client.serving.configure("hasty", {"limits.timeout_ms": 60_000})
    assert http.post("/v2/models/hasty/infer", json=many).status_code == 200
    client.close()


def test_who_is_not_known_or_comes_from_a_foreign_page_is_refused_on_the_short_way_too(server: RunningServer, http: httpx.Client) -> None:
    assert answers(http)
    body = asked([1.0, 2.0, 3.0])
    assert httpx.post(f"{server.url}/v2/models/fast/infer", json=body, timeout=60).status_code == 401
    assert http.post("/v2/models/fast/infer", json=body, headers={"authorization": "Bearer rung_guess"}).status_code == 401
    assert http.post("/v2/models/fast/infer", json=body, headers={"host": "evil.example"}).status_code == 403
    assert http.post("/v2/models/fast/infer", json=body, headers={"origin": "https://evil.example"}).status_code == 403
    assert http.post("/v2/models/fast/infer", json=body, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert http.post("/v2/models/fast/infer", json=body, headers={"x-rung-project": "elsewhere"}).status_code == 404
    assert http.post("/p/elsewhere/v2/models/fast/infer", json=body).status_code == 404
    assert http.post("/p/default/v2/models/fast/infer", json=body).status_code == 200


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[1.0, None, 3.0]], "'b' holds null"),
        ([[1.0, 2.0]], "3"),
        ([["x", 2.0, 3.0]], "a"),
        ([[1e999, 2.0, 3.0]], "a"),
    ],
    ids=["null", "ragged", "text", "infinite"],
)
def test_a_mistake_is_told_with_its_input(http: httpx.Client, rows: list[list[Any]], said: str) -> None:
    for _ in range(2):
        body = json.dumps(asked(*rows)).replace("Infinity", "1e999")
        answer = http.post("/v2/models/fast/infer", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 400
        assert said in answer.json()["error"]


def test_headers_that_never_end_and_bodies_that_never_come_are_cut(server: RunningServer, http: httpx.Client) -> None:
    begun = time.monotonic()
    with opened(server) as silent, opened(server) as dripping, opened(server) as bodiless:
        dripping.sendall(b"POST /v2/models/fast/infer HTTP/1.1\r\nhost: x\r\n")
        bodiless.sendall(head(server, 1000) + b'{"inputs"')
        assert answers(http)
        for _ in range(3):
            time.sleep(1.2)
            with suppress(OSError):
                dripping.sendall(b"x-a: b\r\n")
        assert received(silent) == b""
        assert received(dripping) == b""
        answer = received(bodiless)
        assert status(answer) == 408
        assert b"4 s" in answer
    assert time.monotonic() - begun < 60
    assert answers(http)


def test_a_connection_that_goes_away_in_the_middle_of_a_body_harms_nobody(server: RunningServer, http: httpx.Client) -> None:
    for _ in range(20):
        with opened(server) as connection:
            connection.sendall(head(server, 100_000) + b'{"inputs": [')
    assert answers(http)


def test_a_body_over_the_limit_is_refused_before_it_is_sent_and_while_it_is(server: RunningServer, http: httpx.Client) -> None:
    with opened(server) as connection:
        connection.sendall(head(server, 100 << 20))
        assert status(connection.recv(65536)) == 413
    with opened(server) as connection:
        connection.sendall(head(server, 0).replace(b"content-length: 0", b"transfer-encoding: chunked"))
        chunk = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
        try:
            for _ in range(12):
                connection.sendall(chunk)
        except OSError:
            pass
        assert status(connection.recv(65536)) == 413
    assert answers(http)


def test_packed_bodies_are_read_and_bombs_stop_early(http: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    good = gzip.compress(json.dumps(asked([1.0, 2.0, 3.0])).encode())
    assert http.post("/v2/models/fast/infer", content=good, headers=headers).status_code == 200
    bomb = gzip.compress(b" " * (200 << 20), 1)
    assert len(bomb) < 1 << 20
    assert http.post("/v2/models/fast/infer", content=bomb, headers=headers).status_code == 413
    for damaged in (good[:-12], b"not gzip at all"):
        assert http.post("/v2/models/fast/infer", content=damaged, headers=headers).status_code == 400
    assert http.post("/v2/models/fast/infer", content=good, headers={**headers, "content-encoding": "br"}).status_code == 415


def test_a_slow_model_does_not_slow_a_fast_one(server: RunningServer) -> None:
    headers = {"authorization": f"Bearer {server.token}"}

    def asking(name: str, times: int) -> list[float]:
        spent = []
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as http:
            for _ in range(times):
                begun = time.perf_counter()
                assert http.post(f"/v2/models/{name}/infer", json=asked([0.1, 0.2, 0.3])).status_code == 200
                spent.append(time.perf_counter() - begun)
        return spent

    with ThreadPoolExecutor(9) as pool:
        slow = [pool.submit(asking, "slow", 8) for _ in range(8)]
        fast = asking("fast", 60)
        spent = [second for one in slow for second in one.result()]
    assert statistics.median(fast) < statistics.median(spent)


@pytest.mark.parametrize(("threads", "each"), [(8, 5), pytest.param(32, 1000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_many_callers_of_a_batched_model_each_get_their_own_rows(server: RunningServer, threads: int, each: int) -> None:
    headers = {"authorization": f"Bearer {server.token}"}
    picked = ROWS.head(threads * each).to_numpy()
    expected = LogisticRegression().fit(ROWS.to_numpy(), TRUTH).predict_proba(picked)[:, 1]

    def ask(thread: int) -> int:
        wrong = 0
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as http:
            for place in range(thread, len(picked), threads):
                wanted = ["score"] if place % 2 else ["predict"]
                body = asked(picked[place].tolist(), outputs=[{"name": name} for name in wanted])
                outputs = {one["name"]: one["data"] for one in http.post("/v2/models/batched/infer", json=body).json()["outputs"]}
                truth = {"score": pytest.approx([expected[place]]), "predict": [int(expected[place] >= 0.5)]}
                wrong += outputs != {name: truth[name] for name in wanted}
        return wrong

    with ThreadPoolExecutor(threads) as pool:
        assert sum(pool.map(ask, range(threads))) == 0


def test_rates_and_daily_rows_of_a_token_are_kept(server: RunningServer, http: httpx.Client) -> None:
    client = connect(server.url, server.token)
    client.serving.deploy("limited", "fast", 1, environment="staging")
    client.serving.configure("limited", {"limits.requests_per_s": 0.02, "limits.burst": 2, "limits.max_rows": 3})
    statuses = [http.post("/v2/models/limited/infer", json=asked([1.0, 2.0, 3.0])) for _ in range(3)]
    assert [answer.status_code for answer in statuses] == [200, 200, 429]
    assert 1 <= int(statuses[-1].headers["retry-after"]) <= 50
    client.serving.configure("limited", {"limits.requests_per_s": None, "limits.burst": None, "limits.rows_per_day": 4})
    assert http.post("/v2/models/limited/infer", json=asked(*[[1.0, 2.0, 3.0]] * 4)).status_code == 400
    statuses = [http.post("/v2/models/limited/infer", json=asked(*[[1.0, 2.0, 3.0]] * 3)) for _ in range(2)]
    assert [answer.status_code for answer in statuses] == [200, 429]
    assert "4 rows a day" in statuses[-1].json()["error"]
    client.close()


def test_a_change_is_answered_by_the_next_request_after_it_is_told(server: RunningServer, http: httpx.Client) -> None:
    client = connect(server.url, server.token)
    client.serving.deploy("swapped", "fast", 1, environment="staging")
    for turn in range(4):
        model = "slow" if turn % 2 == 0 else "fast"
        revision = client.serving.deploy("swapped", model, 1, environment="staging")
        answer = http.post("/v2/models/swapped/infer", json=asked([1.0, 2.0, 3.0])).json()
        assert answer["parameters"]["revision"] == revision.number
    client.close()


def test_metrics_count_what_was_answered_and_refused_under_the_peers_names_too(http: httpx.Client) -> None:
    def counted(name: str) -> float:
        lines = [line for line in http.get("/metrics").text.splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    names = ('rung_requests_total{deployment="fast",project="default",status="200"}', 'nv_inference_request_success{model="fast"')
    before = [counted(name) for name in names]
    failed = counted('rung_requests_total{deployment="fast",project="default",status="400"}')
    logged = counted('rung_predictions_logged_total{deployment="fast",project="default"}')
    for _ in range(7):
        assert answers(http)
    assert http.post("/v2/models/fast/infer", content=b"{").status_code == 400
    assert [counted(name) for name in names] == [count + 7 for count in before]
    assert counted('rung_requests_total{deployment="fast",project="default",status="400"}') == failed + 1
    assert counted('rung_request_seconds_count{deployment="fast",project="default"}') >= before[0] + 8
    assert counted('rung_predictions_logged_total{deployment="fast",project="default"}') == logged + 7
    assert counted('rung_predictions_shed_total{deployment="fast",project="default"}') == 0
