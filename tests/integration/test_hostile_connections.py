"""Callers that break the rules of HTTP, offer other protocols, send without end or do not read; models that let others wait."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from textwrap import dedent
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.client.client import connect
from tests.servers import RunningServer, free_port, running_server

ROWS = pl.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), schema=["a", "b", "c"], orient="row")
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}]}).encode()
SLEEPS = """
    import os, time

    class Sleeps:
        task, classes, files = "regression", (), {}

        def load(self, folder):
            pass

        def predict(self, frame):
            if "RUNG_ISOLATED" in os.environ and (frame["a"] == 77).any():
                time.sleep(60)
            return frame["a"]
"""


@pytest.fixture(scope="module")
def grpc_port() -> int:
    """Asked for just before the server binds it."""
    return free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, grpc_port: int) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("hostile")
    settings = ("--set", f"server.grpc_port={grpc_port}", "--set", "registry.allow_code=true", "--set", "serving.body_s=20")
    (folder / "sleeps.py").write_text(dedent(SLEEPS))
    with pytest.MonkeyPatch.context() as patch, running_server(folder / "home", folder, settings=settings) as running:
        patch.syspath_prepend(str(folder))
        from sleeps import Sleeps  # type: ignore[import-not-found]  # written above

        client = connect(running.url, running.token)
        model = LogisticRegression().fit(ROWS.to_numpy(), (ROWS["a"] > 0).to_numpy())
        client.registry.register("fast", model, example=ROWS, label="y")
        client.registry.register("sleeps", Sleeps(), example=ROWS.head(3), label="y")
        for name in ("fast", "sleeps"):
            client.serving.deploy(name, name, 1, environment="staging")
        client.serving.configure("sleeps", {"limits.timeout_ms": 25_000})
        client.close()
        yield running


@pytest.fixture
def http(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {server.token}"}, timeout=90) as opened:
        yield opened


def opened(server: RunningServer, timeout: float = 60) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=timeout)


def head(server: RunningServer, *more: str, path: str = "/v2/models/fast/infer", length: int | None = len(BODY)) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"host: {urlsplit(server.url).netloc}", f"authorization: Bearer {server.token}", *more]
    return "\r\n".join([*lines, *([] if length is None else [f"content-length: {length}"]), "", ""]).encode("latin-1")


def answered(server: RunningServer, data: bytes, wanted: int = 1) -> bytes:
    """What comes back until the server closes, or for a moment after as many answers as are wanted."""
    found = b""
    with opened(server, 30) as connection:
        connection.sendall(data)
        try:
            while part := connection.recv(65536):
                found += part
                if len(statuses(found)) >= wanted:
                    connection.settimeout(0.5)
        except TimeoutError:
            pass
    return found


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def log_of(server: RunningServer) -> str:
    return (server.home.parent / "server.log").read_text("utf-8", "replace")


def test_a_caller_that_offers_another_protocol_is_answered_in_this_one(server: RunningServer) -> None:
    h2c = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
    assert statuses(answered(server, head(server, *h2c) + BODY + head(server) + BODY, 2)) == [200, 200]
    assert statuses(answered(server, head(server, "connection: upgrade", "upgrade: websocket", path="/v2/models/none/infer") + BODY)) == [
        404
    ]
    whole = head(server, *h2c) + BODY
    with opened(server) as connection:
        for at in range(0, len(whole), 40):
            connection.sendall(whole[at : at + 40])
            time.sleep(0.005)
        assert statuses(connection.recv(65536)) == [200]
    assert statuses(answered(server, b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nhost: x\r\n\r\n")) == [405]
    assert "WebSocket" not in log_of(server)


@pytest.mark.parametrize(
    "wrong",
    [b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"POST /\xff/infer HTTP/1.1\r\n\r\n", b"POST / HTTP/1.1\r\nx y: z\r\n\r\n",
     b"POST /score HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
     b"POST /score HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
     b"POST /v2/models/\xe9/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab"],
)  # fmt: skip
def test_what_is_no_request_is_told_so_in_json_and_not_in_the_log(server: RunningServer, http: httpx.Client, wrong: bytes) -> None:
    before = log_of(server)
    answer = answered(server, wrong)
    assert statuses(answer) == [400]
    assert "error" in json.loads(answer.partition(b"\r\n\r\n")[2])
    assert log_of(server) == before
    assert http.post("/v2/models/fast/infer", content=BODY).status_code == 200


@pytest.mark.parametrize("header", ["host: [::1", "host: 127.0.0.1:x]", "origin: http://[::", "origin: http://[x]y"])
def test_addresses_with_half_a_bracket_are_foreign(server: RunningServer, header: str) -> None:
    data = (
        head(server, header)
        if header.startswith("origin")
        else head(server).replace(b"host: " + urlsplit(server.url).netloc.encode(), header.encode())
    )
    assert statuses(answered(server, data + BODY)) == [403]
    assert "Traceback" not in log_of(server)


@pytest.mark.parametrize(
    "begun",
    [
        b"POST /v2/models/fast/infer HTTP/1.1\r\nx-long: ",
        b"GET /",
        b"POST /score HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-long: ",
    ],
)
def test_headers_without_end_are_cut_by_their_size(server: RunningServer, begun: bytes) -> None:
    sent = 0
    with opened(server) as connection:
        connection.sendall(begun)
        try:
            for _ in range(256):
                connection.sendall(b"a" * (1 << 16))
                sent += 1 << 16
        except OSError:
            pass
    assert sent < 8 << 20


def test_garbage_behind_a_request_waits_for_its_answer(server: RunningServer) -> None:
    slow = json.dumps({"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP64", "data": [1, 2, 3, 4, 5, 6]}]}).encode()
    answer = answered(server, head(server, path="/v2/models/sleeps/infer", length=len(slow)) + slow + b"GARBAGE\r\n\r\n")
    assert statuses(answer) == [200]
    assert statuses(answered(server, head(server) + BODY + b"GARBAGE\r\n\r\n", 2)) == [200, 400]


def test_who_sends_without_reading_is_waited_for(server: RunningServer, http: httpx.Client) -> None:
    rows = json.dumps({"inputs": [{"name": "x", "shape": [100, 3], "datatype": "FP64", "data": [1] * 300}]}).encode()
    burst, sent, most = (head(server, length=len(rows)) + rows) * 50, 0, 32 << 20
    parts = urlsplit(server.url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(2)
        connection.connect((parts.hostname, parts.port))
        try:
            while sent < most:
                sent += connection.send(burst)
        except TimeoutError:
            pass
        assert sent < most
        assert http.post("/v2/models/fast/infer", content=BODY).status_code == 200


def test_what_anybody_may_ask_waits_for_no_body(server: RunningServer) -> None:
    for path in ("/v2/health/live", "/ping", "/v2/nowhere"):
        data = f"POST {path} HTTP/1.1\r\nhost: {urlsplit(server.url).netloc}\r\ncontent-length: 60000000\r\n\r\n".encode()
        assert statuses(answered(server, data)) in ([404], [405])


def _sleep(http: httpx.Client, **more: Any) -> int:
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [77, 0, 0]}]}).encode()
    return http.post("/v2/models/sleeps/infer", content=gzip.compress(body), headers={"content-encoding": "gzip"}, **more).status_code


def test_packed_requests_of_a_model_that_hangs_hold_up_nobody_else(server: RunningServer, http: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        hanging = [pool.submit(_sleep, http) for _ in range(8)]
        time.sleep(0.5)
        assert http.get("/v2/health/live").status_code == 200
        assert http.post("/v2/models/fast/infer", content=gzip.compress(BODY), headers={"content-encoding": "gzip"}).status_code == 200
        assert http.get("/v2/models/fast").status_code == 200
        assert sum(one.done() for one in hanging) < 4  # threads that read packed bodies
        assert {one.result() for one in hanging} <= {503, 504}


def test_a_model_that_hangs_leaves_threads_to_others_over_grpc(server: RunningServer, grpc_port: int) -> None:
    tritonclient = pytest.importorskip("tritonclient.grpc")
    bearer = {"authorization": f"Bearer {server.token}"}
    client = tritonclient.InferenceServerClient(f"127.0.0.1:{grpc_port}")

    def ask(model: str, value: float) -> str:
        tensor = tritonclient.InferInput("x", [1, 3], "FP64")
        tensor.set_data_from_numpy(np.full((1, 3), value))
        try:
            client.infer(model, [tensor], headers=bearer)
        except tritonclient.InferenceServerException as error:
            return str(error.status())
        return "answered"

    assert ask("fast", 1.0) == "answered"
    with ThreadPoolExecutor(80) as pool:
        hanging = [pool.submit(ask, "sleeps", 77.0) for _ in range(80)]
        time.sleep(0.8)
        assert ask("fast", 1.0) == "answered"
        assert sum(one.done() and one.result().endswith("DEADLINE_EXCEEDED") for one in hanging) == 0
        assert {one.result().partition(".")[2] for one in hanging} <= {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
    client.close()


def test_the_server_s_log_has_no_story_of_any_of_this(server: RunningServer) -> None:
    assert log_of(server).partition("Traceback")[2][-1500:] == ""
