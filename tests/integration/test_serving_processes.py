"""Workers of ``rung serve``: on one port, restarted, counted together, small, and told the truth about."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.app.local import LocalTransport
from rung.engine.workers.keeper import children_of
from rung.serving.options import DeploymentOptions, RuntimeOptions
from tests.integration.storming import INPUTS, NAME, Serving, Storm, serving
from tests.processes import is_alive
from tests.servers import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
BODY = {"inputs": [{"name": f"x{place}", "shape": [1], "datatype": "FP64", "data": [0.5]} for place in range(INPUTS)]}
FORBIDDEN = {
    "sqlalchemy",
    "sklearn",
    "scipy",
    "pandas",
    "polars",
    "pyarrow",
    "jinja2",
    "mlflow",
    "torch",
    "rung.ui",
    "rung.engine.loop",
    "rung.monitoring",
}


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serving")
    settings = ("--set", f"serving.access_log={folder / 'access.log'}")
    with serving(folder, "--workers", "3", settings=settings) as running:
        yield running


def _infer(held: Serving, **headers: str) -> httpx.Response:
    url = f"http://127.0.0.1:{held.port}/v2/models/{NAME}/infer"
    return httpx.post(url, json=BODY, headers={"authorization": f"Bearer {held.token}", **headers}, timeout=30)


def _counted(held: Serving) -> float:
    text = held.get("/metrics").text
    return sum(float(line.rpartition(" ")[2]) for line in re.findall(rf'^rung_requests_total\{{.*"{NAME}".*$', text, re.M))


def test_any_worker_answers_for_the_numbers_of_all(held: Serving) -> None:
    before = _counted(held)
    storm = Storm(held.port, held.token, 1_000, connections=24)
    storm.start().join()
    assert storm.failures == []
    # workers bring their numbers together a few times a second
    wait_until(lambda: {_counted(held) - before for _ in range(8)} == {1_000.0}, 60, lambda: str(_counted(held) - before))


def test_an_answer_on_a_kept_connection_does_not_wait_for_a_delayed_acknowledgement(held: Serving) -> None:
    # without TCP_NODELAY each takes 40 ms and more, whatever the machine does
    with httpx.Client(headers={"authorization": f"Bearer {held.token}"}, timeout=60) as client:
        url = f"http://127.0.0.1:{held.port}/v2/models/{NAME}/infer"
        taken = []
        for _ in range(60):
            begun = time.perf_counter()
            assert client.post(url, json=BODY).status_code == 200
            taken.append(time.perf_counter() - begun)
    assert min(taken[5:]) < 0.03


def test_a_killed_worker_is_replaced(held: Serving) -> None:
    before = held.workers()
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(held.workers()) - set(before)) == 1, 120, held.log.read_text)
    wait_until(lambda: _infer(held).status_code == 200, 120, held.log.read_text)
    assert f"Worker {before[0]} was ended by SIGKILL; another starts" in held.log.read_text()


def test_a_trace_goes_into_the_log_and_back_with_the_answer(held: Serving) -> None:
    answer = _infer(held, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01", **{"x-request-id": "order-17"})
    assert re.fullmatch(rf"00-{TRACE}-(?!00f067aa0ba902b7)[0-9a-f]{{16}}-01", answer.headers["traceparent"])
    assert answer.headers["x-request-id"] == "order-17"
    (found,) = [tensor["data"][0] for tensor in answer.json()["outputs"] if tensor["name"] == "prediction_id"]
    assert held.client.serving.find(found).trace_id == TRACE
    lines: list[dict[str, object]] = []

    def written() -> bool:
        lines[:] = [json.loads(text) for text in (held.log.parent / "access.log").read_text().splitlines()]
        return any(line.get("request_id") == "order-17" for line in lines)

    wait_until(written, 60, lambda: "the access log has no such line")
    line = next(line for line in lines if line.get("request_id") == "order-17")
    assert (line["status"], line["deployment"], line["trace_id"], line["caller"]) == (200, NAME, TRACE, "owner")


def test_what_cannot_be_loaded_makes_it_unready_with_the_reason(held: Serving) -> None:
    assert held.get("/readyz").json() == {"ready": True}
    rows = np.array([[0.0] * INPUTS, [1.0] * INPUTS] * 20)
    frame = pl.DataFrame({f"x{place}": rows[:, place] for place in range(INPUTS)})
    version = held.client.registry.register("gone", LogisticRegression().fit(rows, rows[:, 0]), example=frame, label="y")
    transport = held.client.transport
    assert isinstance(transport, LocalTransport)
    for digest in (*(file.digest for file in version.files), *([version.engine.artifact] if version.engine else ())):
        transport.platform.blobs.delete(digest)
    held.client.serving.deploy("gone", "gone", 1, environment="staging")
    told: dict[str, Any] = {}

    def unready() -> bool:  # each worker finds out by itself
        answer = held.get("/readyz")
        told.update(answer.json())
        return answer.status_code == 503

    wait_until(unready, 60, held.log.read_text)
    assert "gone" in told["deployments"]
    assert _infer(held).status_code == 200
    held.client.serving.undeploy("gone")
    wait_until(lambda: {held.get("/readyz").status_code for _ in range(10)} == {200}, 60, held.log.read_text)
    assert held.get("/healthz").text == "OK"
    assert held.get("/nothing").status_code == 404


def test_a_port_that_is_taken_is_refused_although_workers_share_theirs(held: Serving) -> None:
    command = [sys.executable, "-m", "rung.cli.main", "serve", "--port", str(held.port), "--workers", "2"]
    second = subprocess.run(command, cwd=held.log.parent, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert "is taken" in second.stderr


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_request_under_way_is_answered_before_the_end(tmp_path: Path, workers: str) -> None:
    with serving(tmp_path, "--workers", workers) as running:
        body = json.dumps(BODY).encode()
        head = f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {running.token}\r\n"
        with socket.create_connection(("127.0.0.1", running.port)) as line:
            line.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:20])
            time.sleep(3)  # it has taken the connection by now
            running.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            line.sendall(body[20:])
            line.settimeout(60)
            assert line.recv(100).startswith(b"HTTP/1.1 200")
        assert running.process.wait(90) == 0
        assert not list((tmp_path / ".rung" / "predictions").glob("*/*.open"))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_who_was_told_to_end_says_so_and_answers_while_balancers_learn_it(tmp_path: Path, workers: str) -> None:
    with serving(tmp_path, "--workers", workers, settings=("--set", "serving.drain_s=60")) as running:
        assert running.get("/v2/health/ready").json() == {"ready": True}
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: {running.get("/readyz").status_code for _ in range(10)} == {503}, 60, running.log.read_text)
        for path in ("/readyz", "/v2/health/ready"):
            answer = running.get(path)  # each on a new connection
            assert (answer.status_code, answer.json()["ready"]) == (503, False)
            assert "draining" in answer.json()["reason"]
        assert running.get("/ping").status_code == 503
        assert running.get("/healthz").status_code == 200
        assert _infer(running).status_code == 200
        running.process.send_signal(signal.SIGTERM)  # told twice it does not wait for them
        assert running.process.wait(90) == 0
        with pytest.raises(httpx.ConnectError):
            running.get("/healthz")


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as running:
        workers = running.workers()
        running.process.kill()
        running.process.wait()
        wait_until(lambda: not any(map(is_alive, workers)), 120, lambda: "they live on")


COLD = """
import sys, time
begun = time.perf_counter()
from rung.server.serving.worker import pin_threads
pin_threads(1)
from rung.core.settings import load_settings
from rung.app.opening import open_platform
from rung.server.serving.composing import build_serving
import uvicorn, rung.server.draining, httptools, uvloop, uvicorn.protocols.http.httptools_impl, rung.serving.codecs.open_inference
platform, _ = open_platform(load_settings())
app, table, stopped = build_serving(platform)
table.wait(60)
rss = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(__import__("json").dumps({"rss_mb": rss / 1024, "seconds": time.perf_counter() - begun, "modules": sorted(sys.modules),
    "engines": [live.stable.predictor.engine for live in table._held.values()]}))
stopped()
platform.close()
"""


def test_a_compiled_model_is_served_without_the_library_it_was_made_with(tmp_path: Path) -> None:
    from tests.integration.storming import home_with_model

    home_with_model(tmp_path)[0].close()
    told = subprocess.run([sys.executable, "-c", COLD], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True).stdout
    found = json.loads(told.splitlines()[-1])
    assert "native" not in found["engines"]
    assert {name for name in found["modules"] if name in FORBIDDEN} == set()
    assert found["rss_mb"] < 130


def test_a_deployment_whose_process_dies_is_answered_again_and_others_all_along(held: Serving) -> None:
    verbs = held.client.serving
    verbs.deploy("apart", NAME, 1, environment="staging", options=DeploymentOptions(runtime=RuntimeOptions(isolated=True)))
    url = f"http://127.0.0.1:{held.port}/v2/models/apart/infer"

    def ask() -> int:
        return httpx.post(url, json=BODY, headers={"authorization": f"Bearer {held.token}"}, timeout=60).status_code

    wait_until(lambda: all(children_of(pid) for pid in held.workers()), 60, held.log.read_text)
    wait_until(lambda: {ask() for _ in range(30)} == {200}, 120, held.log.read_text)  # a process starts before its table answers
    killed = [child for worker in held.workers() for child in children_of(worker)]
    for child in killed:
        os.kill(child, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, killed)), 60, lambda: "they are still ending")
    assert _infer(held).status_code == 200
    assert {ask() for _ in range(12)} == {200}
    verbs.undeploy("apart")
