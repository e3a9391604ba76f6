"""A deployment leaves its platform as a bundle, and ``rung serve --bundle`` answers as the platform did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from rung.app.bundle import read_bundle, unpacked
from rung.client.client import Client
from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.locking import FileLock
from rung.core.settings import load_settings
from rung.protocols.exchange.bundling import bundle_of, export_deployment
from tests.servers import free_port

RNG = np.random.default_rng(5)
FRAME = pl.DataFrame({f"x{i}": RNG.normal(size=200) for i in range(4)})
MODEL = HistGradientBoostingClassifier(max_iter=10).fit(FRAME, (FRAME["x0"] > 0).cast(pl.Int64))


@pytest.fixture
def bundle(client: Client, tmp_path: Path) -> Path:
    for _ in range(3):
        client.registry.register("late", MODEL, example=FRAME, label="late")
    client.serving.deploy("late", "late", 1, environment="dev")
    client.serving.deploy("late", "late", 3, environment="dev")
    client.serving.set_graph(
        "late", {"nodes": [{"name": "m", "kind": "model"}, {"name": "a", "kind": "decide", "threshold": 0.5, "actions": ["go", "wait"]}]}
    )
    bundle_of(client, "late", tmp_path / "out" / "bundle")
    return tmp_path / "out" / "bundle"


def test_a_bundle_holds_one_deployment_and_no_secret(bundle: Path) -> None:
    found = read_bundle(bundle)
    assert (found.deployment, found.revision, [(v.model, v.number) for v in found.versions]) == ("late", 3, [("late", 3)])
    assert sorted(path.name for path in (bundle / "home").iterdir() if path.is_file()) == ["rung.db"]


def test_nobody_is_let_in_unasked_and_a_home_stays_that_of_its_bundle(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / "served")})
    with pytest.raises(Invalid, match="Nobody could call"):
        unpacked(bundle, there)
    monkeypatch.setenv("RUNG_SERVE_TOKEN", "secret")
    other = load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / "again")})
    unpacked(bundle, other)
    unpacked(bundle, other)
    (bundle / "bundle.json").write_bytes((bundle / "bundle.json").read_bytes() + b"\n")
    with pytest.raises(Conflict, match="another bundle"):
        unpacked(bundle, other)
    with pytest.raises(NotFound):
        read_bundle(tmp_path)


def test_a_start_that_was_cut_off_is_made_good_by_the_next(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(tmp_path, environ={}, flags={"home": str(tmp_path / "served")})
    with pytest.raises(Invalid, match="Nobody could call"):
        unpacked(bundle, settings)
    monkeypatch.setenv("RUNG_SERVE_TOKEN", "secret")
    with monkeypatch.context() as patch:
        patch.setattr("rung.app.bundle.write_whole", lambda *_: os.kill(os.getpid(), signal.SIGINT))  # callers are in, the mark is not
        with pytest.raises(KeyboardInterrupt):
            unpacked(bundle, settings)
    held = FileLock(settings.home_path / ".bundle.begun")
    assert held.take()
    with pytest.raises(Conflict, match="Another process"):
        unpacked(bundle, settings)
    held.give()
    assert unpacked(bundle, settings) == unpacked(bundle, settings) == read_bundle(bundle)
    assert not (settings.home_path / ".bundle.begun").exists()


@pytest.mark.parametrize("open_to_all", [False, True])
def test_it_answers_without_a_platform_as_the_platform_did(bundle: Path, client: Client, tmp_path: Path, open_to_all: bool) -> None:
    expected = MODEL.predict_proba(FRAME.head(3))[:, 1]
    environment = {**os.environ, "RUNG_HOME": str(tmp_path / "served"), "RUNG_SERVER_HOSTS": "churn.default.svc, other"}
    environment |= {"RUNG_SERVING_OPEN": "true"} if open_to_all else {"RUNG_SERVE_TOKEN": "secret"}
    command = [sys.executable, "-m", "rung.cli.entry", "serve", "--bundle", str(bundle), "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    try:
        url = _address(process)
        body = {"inputs": [{"name": name, "shape": [3], "datatype": "FP64", "data": FRAME[name][:3].to_list()} for name in FRAME.columns]}
        headers = {"host": "churn.default.svc"} | ({} if open_to_all else {"authorization": "Bearer secret"})
        answer = _ready(url, "/v2/models/late/infer", body, headers)
        assert answer.status_code == 200, answer.text
        if not open_to_all:
            assert httpx.post(f"{url}/v2/models/late/infer", json=body, timeout=60).status_code == 401
        outputs = {one["name"]: one["data"] for one in answer.json()["outputs"]}
        if "action" in outputs:  # the deployment's graph went along
            assert outputs["action"] == ["wait" if p >= 0.5 else "go" for p in expected]
        assert answer.json()["model_version"] == "3"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)
        assert process.stdout is not None
        process.stdout.close()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "http://" in line:
            return "http://" + line.split("http://")[1].split()[0]
    raise AssertionError("".join(said))


def _ready(url: str, path: str, body: object, headers: dict[str, str]) -> httpx.Response:
    for _ in range(100):
        answer = httpx.post(f"{url}{path}", json=body, headers=headers, timeout=20)
        if answer.status_code not in {404, 503}:
            break
        time.sleep(0.1)
    return answer


def test_the_image_s_entry_point_answers_by_any_name_and_tells_its_numbers_to_who_has_the_token(
    bundle: Path, client: Client, tmp_path: Path
) -> None:
    export_deployment(client, "late", "kubernetes", tmp_path / "image")
    port = free_port()
    environment = {
        **os.environ, "RUNG_HOME": str(tmp_path / "served"), "RUNG_SERVE_TOKEN": "secret", "RUNG_BUNDLE": str(bundle), "RUNG_WORKERS": "1",
        "AIP_HTTP_PORT": str(port), "RUNG_SERVER_HOST": "127.0.0.1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    process = subprocess.Popen([tmp_path / "image" / "entrypoint.sh", "serve"], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        url = _address(process)
        assert url.endswith(f":{port}")
        body = {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [0.5]} for name in FRAME.columns]}
        for host in ("late", "late.default.svc.cluster.local", "model.aws.local", "10.1.2.3:8080"):
            headers = {"host": host, "authorization": "Bearer secret"}
            assert _ready(url, "/v2/models/late/infer", body, headers).status_code == 200
        assert httpx.get(f"{url}/metrics", headers={"host": "10.1.2.3:8080"}, timeout=60).status_code == 401
        numbers = httpx.get(f"{url}/metrics", headers={"host": "10.1.2.3:8080", "authorization": "Bearer secret"}, timeout=60)
        assert numbers.status_code == 200, numbers.text
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)
        assert process.stdout is not None
        process.stdout.close()
