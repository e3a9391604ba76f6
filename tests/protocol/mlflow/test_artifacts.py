"""Artifacts of the real client: in parts and whole, ranges, and addresses that carry their leave in themselves."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest
import requests
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from rung.client.client import Client
from rung.protocols.mlflow.server import VERSION
from tests.protocol.mlflow.conftest import Served, Wire
from tests.servers import running_server

PROXY = "/api/2.0/mlflow-artifacts"
MEGABYTE = 1 << 20


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of a little more than five parts."""
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(5 * MEGABYTE + 12_345))
    return path


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client sends and fetches files of a megabyte in parts."""
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(MEGABYTE))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(MEGABYTE))
    monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(MEGABYTE))


def test_the_client_sends_and_fetches_a_file_in_parts(
    mlflow_client: MlflowClient, run: str, large: Path, tmp_path: Path, in_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    put = requests.put

    def noted(url: str, **options: Any) -> requests.Response:
        sent.append(url)
        return put(url, **options)

    monkeypatch.setattr(requests, "put", noted)
    mlflow_client.log_artifact(run, str(large), "deep/folder")
    assert len(sent) == 6
    assert all("/mpu/parts/" in url for url in sent)
    (found,) = mlflow_client.list_artifacts(run, "deep/folder")
    assert (found.path, found.file_size) == ("deep/folder/large.bin", large.stat().st_size)
    local = download_artifacts(run_id=run, artifact_path="deep/folder/large.bin", dst_path=str(tmp_path / "back"))
    assert Path(local).read_bytes() == large.read_bytes()


def test_a_file_in_parts_lies_at_the_root_of_a_run_too(mlflow_client: MlflowClient, run: str, large: Path, in_parts: None) -> None:
    mlflow_client.log_artifact(run, str(large))
    assert [item.path for item in mlflow_client.list_artifacts(run)] == ["large.bin"]


def test_a_run_in_another_project_takes_parts_too(
    server: Served, wire: Wire, large: Path, tmp_path: Path, in_parts: None, monkeypatch: pytest.MonkeyPatch, rung_client: Client
) -> None:
    project = f"parts-{secrets.token_hex(4)}"
    rung_client.governance.create_project(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{server.url}/p/{project}")
    client = MlflowClient()
    run = client.create_run("0").info.run_id
    client.log_artifact(run, str(large))
    local = download_artifacts(run_id=run, artifact_path="large.bin", dst_path=str(tmp_path / "back"))
    assert Path(local).read_bytes() == large.read_bytes()
    assert wire.get("runs/get", run_id=run).status_code == 404


def _begin(wire: Wire, place: str, parts: int) -> tuple[str, list[str]]:
    answer = wire.send("POST", f"{PROXY}/mpu/create/{place}", json={"path": "C:\\data\\big.bin", "num_parts": parts})
    assert answer.status_code == 200, answer.text
    return answer.json()["upload_id"], [item["url"] for item in answer.json()["credentials"]]


def _tags(urls: list[str], *contents: bytes) -> list[dict[str, object]]:
    found = []
    for number, (url, content) in enumerate(zip(urls, contents, strict=True), 1):
        answer = requests.put(url, data=content, timeout=60)  # without a token, as the client does it
        assert answer.status_code == 200, answer.text
        found.append({"part_number": number, "etag": answer.headers["ETag"], "url": url})
    return found


def _end(wire: Wire, place: str, upload_id: str, parts: list[dict[str, object]], how: str = "complete") -> requests.Response:
    body = {"path": "/elsewhere/big.bin", "upload_id": upload_id, "parts": parts}
    return wire.send("POST", f"{PROXY}/mpu/{how}/{place}", json=body)


@pytest.fixture
def place(experiment: str, run: str) -> str:
    """The folder of a run in the proxy's tree."""
    return f"{experiment}/{run}/artifacts"


def test_parts_come_in_any_order_and_the_last_attempt_counts(wire: Wire, place: str) -> None:
    upload_id, urls = _begin(wire, place, 3)
    _tags([urls[2], urls[0]], b"never", b"mind")
    parts = _tags(urls, b"one ", b"two ", b"three")
    assert _end(wire, place, upload_id, parts[::-1]).json() == {}
    assert wire.send("GET", f"{PROXY}/artifacts/{place}/big.bin").content == b"one two three"
    again = _end(wire, place, upload_id, parts)
    assert (again.status_code, again.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_a_missing_or_foreign_part_is_named_and_can_be_sent_again(wire: Wire, place: str) -> None:
    upload_id, urls = _begin(wire, place, 2)
    parts = _tags(urls[:1], b"one")
    missing = _end(wire, place, upload_id, parts)
    assert (missing.status_code, missing.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "Part 2 of 2" in missing.json()["message"]
    parts = _tags(urls, b"one", b"two")
    assert _end(wire, place, upload_id, [parts[0], {**parts[1], "etag": parts[0]["etag"]}]).status_code == 400
    assert _end(wire, place, upload_id, parts).status_code == 200


def test_an_aborted_upload_leaves_nothing(wire: Wire, place: str) -> None:
    upload_id, urls = _begin(wire, place, 2)
    parts = _tags(urls, b"one", b"two")
    assert _end(wire, place, upload_id, [], "abort").json() == {}
    assert requests.put(urls[0], data=b"late", timeout=60).status_code == 404
    assert _end(wire, place, upload_id, parts).status_code == 404
    assert wire.send("GET", f"{PROXY}/artifacts?path={place}").json() == {}


def test_an_upload_is_ended_only_for_the_file_and_by_the_project_that_began_it(wire: Wire, place: str, rung_client: Client) -> None:
    upload_id, urls = _begin(wire, place, 1)
    parts = _tags(urls, b"one")
    assert _end(wire, f"{place}/other", upload_id, parts).status_code == 404
    project = f"other-{secrets.token_hex(4)}"
    rung_client.governance.create_project(project)
    body: Any = {"path": "big.bin", "upload_id": upload_id, "parts": parts}
    assert wire.send("POST", f"/p/{project}{PROXY}/mpu/complete/{place}", json=body).status_code == 404
    assert requests.post(f"{wire.base}{PROXY}/mpu/complete/{place}", json=body, timeout=60).status_code == 401
    assert _end(wire, place, upload_id, parts).status_code == 200


@pytest.mark.parametrize(
    "body", [{}, {"path": ""}, {"path": "a/.."}, {"path": "x", "num_parts": 0}, {"path": "x", "num_parts": 10_001}, {"path": 1}, {"path": "x\x00"}, []]
)  # fmt: skip
def test_an_upload_that_makes_no_sense_does_not_begin(wire: Wire, place: str, body: object) -> None:
    answer = wire.send("POST", f"{PROXY}/mpu/create/{place}", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text


def test_an_upload_begins_only_for_who_is_there(wire: Wire, experiment: str) -> None:
    answer = wire.send("POST", f"{PROXY}/mpu/create/{experiment}/{'0' * 32}/artifacts", json={"path": "x", "num_parts": 1})
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize("upload_id", ["x", "../../../../etc", "%2e%2e%2f", "0" * 32, "a" * 5000])
def test_a_guessed_upload_is_none(wire: Wire, place: str, upload_id: str) -> None:
    assert requests.put(f"{wire.base}{PROXY}/mpu/parts/{upload_id}/1", data=b"x", timeout=60).status_code == 404
    assert _end(wire, place, upload_id, []).status_code == 404


@pytest.mark.parametrize("number", ["0", "3", "-1", "x", "1" * 50, "²"])
def test_a_part_that_was_not_asked_for_is_refused(wire: Wire, place: str, number: str) -> None:
    _, urls = _begin(wire, place, 2)
    answer = requests.put(urls[0].rpartition("/")[0] + "/" + number, data=b"x", timeout=60)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_what_uploads_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "incoming" / "parts-old").mkdir(parents=True)
    (home / "incoming" / "parts-new").mkdir()
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(home / "incoming" / "parts-old", (long_ago, long_ago))
    with running_server(home, tmp_path):
        assert [path.name for path in (home / "incoming").iterdir()] == ["parts-new"]


def test_a_download_goes_on_where_it_broke_off_only_in_the_same_file(wire: Wire, place: str) -> None:
    address = f"{PROXY}/artifacts/{place}/file.bin"
    first = os.urandom(3 * MEGABYTE)
    wire.send("PUT", address, data=first)
    whole = wire.send("GET", address)
    tag = whole.headers["ETag"]
    rest = wire.send("GET", address, {"Range": f"bytes={MEGABYTE}-", "If-Range": tag})
    assert (rest.status_code, rest.content) == (206, first[MEGABYTE:])
    assert rest.headers["Content-Range"] == f"bytes {MEGABYTE}-{3 * MEGABYTE - 1}/{3 * MEGABYTE}"
    assert wire.send("GET", address, {"Range": "bytes=-5"}).content == first[-5:]
    assert wire.send("GET", address, {"If-None-Match": tag}).status_code == 304
    wire.send("PUT", address, data=b"another")
    changed = wire.send("GET", address, {"Range": f"bytes={MEGABYTE}-", "If-Range": tag})
    assert (changed.status_code, changed.content) == (200, b"another")
    assert wire.send("GET", address, {"Range": "bytes=1-3"}).content == b"not"
    assert wire.send("GET", address, {"Range": "bytes=90-95"}).status_code == 416
    assert wire.send("GET", address, {"Range": "bytes=much"}).content == b"another"


def test_a_ticket_fetches_one_file_without_a_token(wire: Wire, place: str, run: str) -> None:
    wire.send("PUT", f"{PROXY}/artifacts/{place}/a.txt", data=b"abc")
    leave = wire.send("GET", f"{PROXY}/presigned/{place}/a.txt").json()
    assert (leave["headers"], leave["file_size"]) == ({}, 3)
    assert requests.get(leave["url"], timeout=60).content == b"abc"
    other = wire.post("artifacts/presigned-download-url", {"run_id": run, "path": "a.txt", "expiration": 60}).json()
    assert requests.get(other["presigned_url"], headers={"Range": "bytes=1-"}, timeout=60).content == b"bc"
    assert requests.put(leave["url"], data=b"new", timeout=60).status_code == 403
    head, _, ticket = leave["url"].rpartition("/")
    for forged in (ticket[:-2] + ("AA" if not ticket.endswith("AA") else "BB"), "x", ticket[5:], "=" * 40, "é"):
        answer = requests.get(f"{head}/{forged}", timeout=60)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_a_ticket_sends_one_file_and_expires(wire: Wire, run: str) -> None:
    leave = wire.post("artifacts/presigned-upload-url", {"run_id": run, "path": "in/b.txt"}).json()
    assert requests.put(leave["presigned_url"], data=b"sent", headers=leave["headers"], timeout=60).status_code == 200
    assert [item["path"] for item in wire.get("artifacts/list", run_id=run, path="in").json()["files"]] == ["in/b.txt"]
    leave = wire.post("artifacts/presigned-upload-url", {"run_id": run, "path": "in/b.txt", "expiration": 1}).json()
    time.sleep(1.1)
    late = requests.put(leave["presigned_url"], data=b"late", timeout=60)
    assert (late.status_code, late.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert "expired" in late.json()["message"]


def test_who_lost_the_right_cannot_use_a_ticket_to_send(wire: Wire, server: Served, run: str, rung_client: Client) -> None:
    name = f"bob-{secrets.token_hex(3)}"
    rung_client.governance.create_principal(name, role="editor")
    token = rung_client.governance.create_token(name).secret
    leave = Wire(server.url, token).post("artifacts/presigned-upload-url", {"run_id": run, "path": "b.txt"}).json()
    rung_client.governance.set_role(name, "viewer")
    assert requests.put(leave["presigned_url"], data=b"x", timeout=60).status_code == 403


@pytest.mark.parametrize(
    "body", [{}, {"path": "x"}, {"run_id": "0", "path": "x", "expiration": 0}, {"run_id": "0", "path": "x", "expiration": 604_801}]
)
def test_tickets_that_make_no_sense_are_not_given(wire: Wire, body: dict[str, object]) -> None:
    for route in ("presigned-upload-url", "presigned-download-url"):
        answer = wire.post(f"artifacts/{route}", body)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text


def test_files_are_found_by_run_model_version_and_trace(
    wire: Wire, mlflow_client: MlflowClient, run: str, experiment: str, fresh: Callable[[str], str]
) -> None:
    model = mlflow_client.create_logged_model(experiment, source_run_id=run)
    root = f"{PROXY}/artifacts/{experiment}"
    wire.send("PUT", f"{root}/{run}/artifacts/of/run.txt", data=b"run")
    wire.send("PUT", f"{root}/models/{model.model_id}/artifacts/of/model.txt", data=b"model")
    name = fresh("found")
    mlflow_client.create_registered_model(name)
    mlflow_client.create_model_version(name, f"models:/{model.model_id}", run, model_id=model.model_id)
    for stem in ("", "/ajax-api/2.0/mlflow"):
        assert wire.send("GET", f"{stem}/get-artifact", params={"run_id": run, "path": "of/run.txt"}).content == b"run"
        query = {"name": name, "version": "1", "path": "of/model.txt"}
        assert wire.send("GET", f"{stem}/model-versions/get-artifact", params=query).content == b"model"
        assert wire.send("GET", f"{stem}/model-versions/get-artifact", params={**query, "path": "../x"}).status_code == 400
        assert wire.send("GET", f"{stem}/model-versions/get-artifact", params={**query, "version": "9"}).status_code == 404
    files = f"/ajax-api/2.0/mlflow/logged-models/{model.model_id}/artifacts/files"
    assert wire.send("GET", files, params={"artifact_file_path": "of/model.txt"}).content == b"model"
    assert wire.send("GET", files).status_code == 404


def test_a_folder_is_deleted_whole(wire: Wire, place: str, run: str) -> None:
    for name in ("a/1", "a/2/3", "b"):
        wire.send("PUT", f"{PROXY}/artifacts/{place}/{name}", data=b"x")
    assert wire.send("DELETE", f"{PROXY}/artifacts/{place}/a").json() == {}
    assert [item["path"] for item in wire.get("artifacts/list", run_id=run).json()["files"]] == ["b"]
    assert wire.send("DELETE", f"{PROXY}/artifacts/{place}").json() == {}
    assert wire.get("artifacts/list", run_id=run).json().get("files") is None


def test_the_server_says_what_it_can(wire: Wire) -> None:
    assert wire.send("GET", "/version").text == VERSION == mlflow.__version__
    told = wire.send("GET", "/api/3.0/mlflow/server-info").json()
    assert told["multipart_uploads_enabled"] is False  # parts are taken, not asked for
    assert told["presigned_upload_run_id_supported"] is True
    assert httpx.get(f"{wire.base}/health", timeout=60).text == "OK"
