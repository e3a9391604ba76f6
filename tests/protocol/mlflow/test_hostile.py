"""Input that means harm, sent to every row: MLflow's error as JSON, never a 500, and nothing outside an artifact's own space.

The bodies are made from the rows' own types, so a row that is added is tested unasked.
"""

from __future__ import annotations

import json
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import quote, urlencode

import httpx
import msgspec
import pytest

from rung.client.client import Client
from rung.client.transports import HttpTransport
from rung.core.requests import Request
from rung.protocols.mlflow import errors, parts, presigned
from rung.protocols.mlflow.hot import HOT_ROWS
from rung.protocols.mlflow.routes import Row
from rung.protocols.mlflow.table import all_rows
from rung.protocols.mlflow.wire import Body
from rung.tracking.artifacts import GetArtifact, LogArtifact
from tests.servers import RunningServer, running_server, wait_until

API = "/api/2.0/mlflow"
_KNOWN = {code for _, code in (*errors.CODES.values(), *errors._SPECIAL.values())}
PROXY = "/api/2.0/mlflow-artifacts"
_LONG = "x" * (1 << 20)
_DEEP = 10_000
# Routes that are no rows and take JSON.
_PARTS: dict[str, type[Body]] = {"create": parts.CreateBody, "complete": parts.CompleteBody, "abort": parts.AbortBody}
_PRESIGNED: dict[str, tuple[type[Body], tuple[type[Request[Any]], ...]]] = {
    "download": (presigned.DownloadBody, (GetArtifact,)), "upload": (presigned.UploadBody, (LogArtifact,)),
}  # fmt: skip
# What stands in place of one value of a body that is otherwise right, as JSON text.
HOSTILE = {
    "null": "null", "a list": "[]", "an object": "{}", "nested lists": "[[[[]]]]", "a bool": "true", "an empty text": '""', "a NUL": '"a\\u0000b"',
    "half a surrogate": '"\\ud800"', "400 digits": "9" * 400, "5000 digits": "9" * 5000, "minus 2^63 and less": str(-(2**63) - 1), "2^63": str(2**63),
    "a fraction": "0.5", "NaN": "NaN", "infinity": "Infinity", "minus infinity": "-Infinity", "too great for a double": "1e999",
    "a million characters": json.dumps(_LONG),
    "a long line": json.dumps("é" * 999),
    "a longish line": json.dumps("y" * 260), "a climbing path": '"../../../../etc/passwd"', "an encoded path": '"%252e%252e%252fetc"',
    "SQL": '"\' OR 1=1; DROP TABLE run; --"', "markup": '"<script>alert(1)</script>"', "control characters": '"\\u0001\\u001b[31m\\r\\n"',
    "deep": "[" * 2000 + "]" * 2000, "an unknown id": json.dumps(uuid.uuid4().hex),
}  # fmt: skip
WHOLE = {
    "nothing": b"", "a list": b"[]", "null": b"null", "a text": b'"x"', "a number": b"1", "half an object": b'{"a": 1', "no JSON": b"{no json}",
    "two objects": b"{}{}", "deep lists": b"[" * _DEEP, "deep objects": b'{"a":' * _DEEP + b"1" + b"}" * _DEEP, "a closed deep list": b"[" * _DEEP + b"]" * _DEEP,
    "invalid UTF-8": b'{"run_id": "\xff\xfe"}', "UTF-16": '{"a": 1}'.encode("utf-16"), "a NUL": b"\x00", "a byte order mark": b"\xef\xbb\xbf{}", "form data": b"a=1&b=2",
}  # fmt: skip
SENSIBLE = {
    "key": "k", "value": "1", "timestamp": 1, "step": 0, "version": "1", "stage": "Staging", "alias": "best", "metric_key": "m", "tag_key": "k",
    "order_by": "tags.k DESC", "url": "https://127.0.0.1/hook", "entity": "REGISTERED_MODEL", "action": "CREATED", "model_json": "{}", "path": "a.txt",
    "field_name": "metrics.m", "request_time": "2026-01-01T00:00:00Z", "execution_duration": "0.1s", "state": "OK", "max_results": 5,
    "filter": "", "page_token": None, "source": "files:/x", "num_parts": 1, "part_number": 1,
}  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """A server of its own: what is sent here shall not be found by other tests."""
    folder = tmp_path_factory.mktemp("hostile")
    settings = []
    if request.param == "postgresql":
        settings = ["--set", f"storage.database={request.getfixturevalue('postgres').new_database()}"]
    with running_server(folder / "home", folder, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def http(server: RunningServer) -> Iterator[httpx.Client]:
    """The owner's connection."""
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {server.token}"}, timeout=60) as client:
        yield client


Ask = Callable[[str, str, bytes], tuple[int, bytes]]


@pytest.fixture(scope="module")
def ask(server: RunningServer) -> Iterator[Ask]:
    """Sends method, address and body as the owner, with as little of a client as can be; answers status and body."""
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    headers = {"authorization": f"Bearer {server.token}", "content-type": "application/json"}

    def send(method: str, address: str, content: bytes) -> tuple[int, bytes]:
        connection.request(method, address, content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    yield send
    connection.close()


@pytest.fixture(scope="module")
def held(http: httpx.Client) -> dict[str, str]:
    """Ids and names of what is there, by the field that names it."""
    return _made(http, API)


def _made(http: httpx.Client, api: str) -> dict[str, str]:
    name = f"m-{uuid.uuid4().hex[:8]}"
    experiment = http.post(f"{api}/experiments/create", json={"name": name}).json()["experiment_id"]
    run = http.post(f"{api}/runs/create", json={"experiment_id": experiment}).json()["run"]["info"]["run_id"]
    model = http.post(f"{api}/logged-models", json={"experiment_id": experiment, "source_run_id": run}).json()["model"]["info"]["model_id"]
    http.post(f"{api}/registered-models/create", json={"name": name})
    place = f"mlflow-artifacts:/{experiment}/models/{model}/artifacts"
    http.post(f"{api}/model-versions/create", json={"name": name, "source": place, "run_id": run})
    trace = f"tr-{uuid.uuid4().hex}"
    info = {
        "trace_id": trace,
        "trace_location": {"mlflow_experiment": {"experiment_id": experiment}},
        "request_time": "2026-01-01T00:00:00Z",
    }
    http.post(api.replace("2.0", "3.0") + "/traces", json={"trace": {"trace_info": info}})
    hook = {"name": name, "url": "https://example.org/hook", "events": [{"entity": "REGISTERED_MODEL", "action": "CREATED"}]}
    webhook = http.post(f"{api}/webhooks", json=hook).json().get("webhook", {}).get("webhook_id", uuid.uuid4().hex)
    return {
        "experiment_id": experiment, "experiment_name": name, "run_id": run, "run_uuid": run, "source_run_id": run, "model_id": model, "name": name,
        "trace_id": trace, "request_id": trace, "webhook_id": webhook,
    }  # fmt: skip


def _rows() -> list[Any]:
    """Every row, those that take things away last."""
    rows: list[Row] = [*all_rows(), *(Row(("POST",), item.path, item.body, item.becomes, lambda *_: {}) for item in HOT_ROWS)]
    takes = re.compile(r"delete(?!-.*tag)|rename")
    rows.sort(
        key=lambda row: (takes.search(row.path) is not None, "DELETE" in row.methods and not re.search(r"tag|alias", row.path), row.path)
    )
    return [pytest.param(row, method, id=f"{method} {row.path}") for row in rows for method in row.methods]


def _sensible(kind: Any, held: dict[str, str], name: str = "") -> Any:
    """A value of a type that a row would take."""
    if get_origin(kind) is Annotated:
        return _sensible(get_args(kind)[0], held, name)
    if get_origin(kind) in {Union, UnionType}:
        return _sensible(next(part for part in get_args(kind) if part is not type(None)), held, name)
    if get_origin(kind) is Literal:
        return get_args(kind)[-1]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {field.encode_name: _sensible(field.type, held, field.encode_name) for field in msgspec.structs.fields(kind)}
    if get_origin(kind) is tuple:
        return [_sensible(get_args(kind)[0], held, name if name in SENSIBLE else name.removesuffix("s"))]
    if get_origin(kind) is dict:
        return {"k": "v"}
    if name in held:
        return held[name]
    if name in SENSIBLE:
        return SENSIBLE[name]
    return {int: 1, float: 1.0, bool: True}.get(kind, "x")


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value in a body, those that hold others too."""
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from _leaves(item, (*path, key))


def _around(body: Any, path: tuple[Any, ...]) -> tuple[bytes, bytes]:
    """The body as JSON, before and after the value at a path."""
    mark = uuid.uuid4().hex
    copy = json.loads(json.dumps(body))
    inside = copy
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = mark
    before, _, after = json.dumps(copy).partition(f'"{mark}"')
    return before.encode(), after.encode()


def _address(row: Row, held: dict[str, str]) -> str:
    path = row.path if row.path.startswith("/api/") else API + row.path
    for name in ("run_id", "model_id", "trace_id", "request_id", "webhook_id"):
        path = path.replace(f"{{{name}}}", held[name])
    path = path.replace("{place}", f"{held['experiment_id']}/{held['run_id']}/artifacts")
    return path.replace("{tag_key:rest}", "k").replace("{tag_key}", "k")


def _complaint(status: int, content: bytes) -> str:
    """What is wrong with an answer to hostile input; empty: nothing."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return f"{status} is no JSON: {content[:200]!r}"
    if status == 200:
        return "" if isinstance(said, dict) else f"200 with {said!r}"[:200]
    if not 400 <= status < 500 and status != 501:
        return f"{status} {content[:300]!r}"
    if said.get("error_code") not in _KNOWN or not said.get("message") or "Traceback" in said["message"] or "SELECT" in said["message"]:
        return f"{status} {content[:300]!r}"
    return "" if len(said["message"]) < 4000 else f"a message of {len(said['message'])} characters"


@pytest.mark.parametrize(("row", "method"), _rows())
def test_no_value_of_a_body_breaks_a_row(ask: Ask, held: dict[str, str], row: Row, method: str) -> None:
    address, found = _address(row, held), []
    body = _sensible(row.body, held)
    if row.path.endswith("s/create"):
        body["name"] = uuid.uuid4().hex
    for n, path in enumerate(_leaves(body)):
        before, after = _around(body, path)
        for what, text in HOSTILE.items():
            if what == "a million characters" and n > 1:
                continue  # they are long in coming
            if method == "GET":
                value = text.strip('"')[:4000]
                query = {**{k: v for k, v in body.items() if v is not None and not isinstance(v, dict)}, str(path[0]): value}
                answer = ask("GET", f"{address}?{urlencode(query, doseq=True)}", b"")
            else:
                answer = ask(method, address, before + text.encode() + after)
            complaint = _complaint(*answer)
            if complaint:
                found.append(f"{'.'.join(map(str, path))} = {what}: {complaint}")
    assert not found, "\n".join(found[:20])


@pytest.mark.parametrize(("row", "method"), [item for item in _rows() if item.values[1] != "GET"])
def test_no_body_breaks_a_row(ask: Ask, held: dict[str, str], row: Row, method: str) -> None:
    found = []
    for what, content in WHOLE.items():
        complaint = _complaint(*ask(method, _address(row, held), content))
        if complaint:
            found.append(f"{what}: {complaint}")
    assert not found, "\n".join(found)


CLIMBS = (
    "../x", "a/../../x", "..", "a/..", "./x", "%2e%2e/x", "%252e%252e%252fx", "..%2fx", "..%5cx", "%2e%2e%5cx", "\\x", "a\\..\\..\\x", "/etc/x", "//x",
    "%2fetc%2fx", "%252fetc%252fx", "C:/x", "C:%5cx", "c%3a%5cx", "a%00b", "a%2500b", "a//b", "a/%2e/b",
)  # fmt: skip


@pytest.mark.parametrize("path", CLIMBS)
def test_no_path_leaves_the_space_of_its_run(http: httpx.Client, server: RunningServer, held: dict[str, str], path: str) -> None:
    run, experiment = held["run_id"], held["experiment_id"]
    before = _files(server.home.parent)
    for place in (
        f"{experiment}/{run}/artifacts/",
        f"{experiment}/models/{held['model_id']}/artifacts/",
        f"{experiment}/traces/{held['trace_id']}/artifacts/",
        "",
    ):
        for method in ("PUT", "GET", "DELETE"):
            # as bytes on the wire: a client library would tidy the path up first
            status, answer = _raw(server, f"{method} {PROXY}/artifacts/{place}{path} HTTP/1.1", b"out" if method == "PUT" else b"")
            assert (status, json.loads(answer)["error_code"]) in {(400, "INVALID_PARAMETER_VALUE"), (404, "RESOURCE_DOES_NOT_EXIST")}, (
                method,
                place,
                answer,
            )
        for address in (
            f"{PROXY}/artifacts?path={quote(place + path, safe='%')}",
            f"{API}/artifacts/list?run_id={run}&path={quote(path, safe='%')}",
        ):
            listed = http.get(address)
            assert listed.status_code == 400 or listed.json().get("files") is None, (address, listed.text)
    assert _files(server.home.parent) == before


@pytest.mark.parametrize(
    "path",
    ["n" * 20_000, "d/" * 2000 + "x", "%ff%fe", "%ED%A0%80", "%0d%0aX-Injected: 1", "a%1b[31m", "%00", "a/%00/b", "+%20&=[](){}$!*'"],
)
def test_no_name_of_an_artifact_breaks_the_proxy(http: httpx.Client, held: dict[str, str], path: str) -> None:
    address = f"{PROXY}/artifacts/{held['experiment_id']}/{held['run_id']}/artifacts/odd/{path}"
    kept = http.put(address, content=b"abc")
    assert not _complaint(kept.status_code, kept.content), kept.text
    found = http.get(address)
    assert (found.status_code, found.content) == (200, b"abc") if kept.status_code == 200 else 400 <= found.status_code < 500
    assert "x-injected" not in found.headers
    listed = http.get(f"{API}/artifacts/list", params={"run_id": held["run_id"], "path": "odd"})
    assert not _complaint(listed.status_code, listed.content)


def test_the_length_that_a_sender_claims_is_not_believed(server: RunningServer, held: dict[str, str], http: httpx.Client) -> None:
    address = f"{PROXY}/artifacts/{held['experiment_id']}/{held['run_id']}/artifacts/claimed"
    for name, length in (("short", 3), ("less", 0)):
        status, _ = _raw(server, f"PUT {address}/{name} HTTP/1.1", b"abcdef", length=length)
        assert status == 200
        assert http.get(f"{address}/{name}").content == b"abcdef"[:length]
    for length in (-1, 10**400):
        status, _ = _raw(server, f"PUT {address}/bad HTTP/1.1", b"abcdef", length=length)
        assert status == 400
    assert http.get(f"{address}/bad").status_code == 404


@pytest.mark.parametrize("size", [100_000, 3 << 20, 20 << 20])
def test_an_upload_that_breaks_off_leaves_nothing(server: RunningServer, held: dict[str, str], http: httpx.Client, size: int) -> None:
    address = f"{PROXY}/artifacts/{held['experiment_id']}/{held['run_id']}/artifacts/broken-{size}"
    before = _stored(server.home)
    _raw(server, f"PUT {address} HTTP/1.1", b"x" * (size // 2), length=size, hang_up=True)
    wait_until(lambda: not list((server.home / "incoming").glob("*")), 60, lambda: "the upload's temporary file is still there")
    assert http.get(address).status_code == 404
    assert http.get(f"{API}/artifacts/list", params={"run_id": held["run_id"], "path": f"broken-{size}"}).json().get("files") is None
    assert _stored(server.home) == before


def test_a_part_that_breaks_off_leaves_nothing_and_may_come_again(server: RunningServer, held: dict[str, str], http: httpx.Client) -> None:
    place = f"{held['experiment_id']}/{held['run_id']}/artifacts"
    begun = http.post(f"{PROXY}/mpu/create/{place}", json={"path": "big", "num_parts": 1}).json()
    url, body = begun["credentials"][0]["url"], {"path": "big", "upload_id": begun["upload_id"]}
    folder = server.home / "incoming" / f"parts-{begun['upload_id']}"
    _raw(server, f"PUT {url.removeprefix(server.url)} HTTP/1.1", b"x" * (1 << 20), length=2 << 20, hang_up=True)
    wait_until(lambda: [path.name for path in folder.iterdir()] == ["upload.json"], 90, lambda: f"{list(folder.iterdir())} are there")
    assert http.post(f"{PROXY}/mpu/complete/{place}", json={**body, "parts": [{"part_number": 1, "etag": ""}]}).status_code == 400
    tag = httpx.put(url, content=b"whole", timeout=60).headers["etag"]
    body["parts"] = [{"part_number": 1, "etag": tag}]
    with ThreadPoolExecutor(4) as pool:
        ended = list(
            pool.map(
                lambda _: httpx.post(f"{server.url}{PROXY}/mpu/complete/{place}", json=body, headers=http.headers, timeout=60).status_code,
                range(4),
            )
        )
    assert sorted(ended) == [200, 404, 404, 404]
    assert http.get(f"{PROXY}/artifacts/{place}/big").content == b"whole"
    assert list((server.home / "incoming").iterdir()) == []


def test_a_part_on_its_way_when_its_upload_is_given_up_is_told_so_and_leaves_nothing(
    server: RunningServer, held: dict[str, str], http: httpx.Client
) -> None:
    place = f"{held['experiment_id']}/{held['run_id']}/artifacts"
    begun = http.post(f"{PROXY}/mpu/create/{place}", json={"path": "big", "num_parts": 1}).json()
    url, body = begun["credentials"][0]["url"], {"path": "big", "upload_id": begun["upload_id"]}
    folder = server.home / "incoming" / f"parts-{begun['upload_id']}"

    def content() -> Iterator[bytes]:
        yield b"the first half"
        wait_until(lambda: bool(list(folder.glob("incoming-*"))), 90, lambda: "the part is not written down")
        assert http.post(f"{PROXY}/mpu/abort/{place}", json=body).json() == {}
        yield b"the second half"

    answer = httpx.put(url, content=content(), timeout=60)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert not [path for path in (server.home / "incoming").iterdir() if begun["upload_id"] in path.name]


def test_of_two_attempts_of_a_part_the_one_counts_whose_tag_is_named(
    server: RunningServer, held: dict[str, str], http: httpx.Client
) -> None:
    place = f"{held['experiment_id']}/{held['run_id']}/artifacts"
    begun = http.post(f"{PROXY}/mpu/create/{place}", json={"path": "twice", "num_parts": 1}).json()
    tag = httpx.put(begun["credentials"][0]["url"], content=b"whole", timeout=60).headers["etag"]
    folder = server.home / "incoming" / f"parts-{begun['upload_id']}"
    for other in ("0" * 64, "f" * 64):  # what two that settle at once leave: neither saw the other's
        (folder / f"00001-{other}").write_bytes(b"other")
    body = {"path": "twice", "upload_id": begun["upload_id"], "parts": [{"part_number": 1, "etag": tag}]}
    assert http.post(f"{PROXY}/mpu/complete/{place}", json=body).json() == {}
    assert http.get(f"{PROXY}/artifacts/{place}/twice").content == b"whole"


def test_one_bad_metric_of_ten_thousand_is_named_and_none_is_kept(http: httpx.Client, held: dict[str, str]) -> None:
    run = http.post(f"{API}/runs/create", json={"experiment_id": held["experiment_id"]}).json()["run"]["info"]["run_id"]
    points = [{"key": f"m{n}", "value": n, "timestamp": 1, "step": 0} for n in range(10_000)]
    points[7777]["value"] = "much"
    refused = http.post(f"{API}/runs/log-batch", json={"run_id": run, "metrics": points})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "7777" in refused.json()["message"]
    points[7777]["value"] = 1.0
    assert "10000" in http.post(f"{API}/runs/log-batch", json={"run_id": run, "metrics": points}).json()["message"]
    few = [*points[:998], {**points[0], "key": "../up"}]
    assert "../up" in http.post(f"{API}/runs/log-batch", json={"run_id": run, "metrics": few}).json()["message"]
    assert "metrics" not in http.get(f"{API}/runs/get", params={"run_id": run}).json()["run"]["data"]


@pytest.fixture(scope="module")
def reader(server: RunningServer) -> Iterator[httpx.Client]:
    """The connection of somebody who may only read."""
    owner = Client(HttpTransport(server.url, server.token))
    owner.governance.create_principal("ann", role="viewer")
    token = owner.governance.create_token("ann").secret
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {token}"}, timeout=60) as client:
        yield client


def _needs(row: Row) -> set[str]:
    return {kind.permission.rpartition(":")[2] for kind in row.becomes}


@pytest.mark.parametrize(("row", "method"), _rows())
def test_who_may_only_read_only_reads(reader: httpx.Client, held: dict[str, str], row: Row, method: str) -> None:
    # the right is asked before the body is looked at, so nonsense shows it
    answer = reader.request(method, _address(row, held), content=b"" if method == "GET" else b"{nonsense")
    if _needs(row) == {"read"}:
        assert answer.status_code != 403, answer.text
    else:
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_who_may_only_read_changes_no_artifact(reader: httpx.Client, http: httpx.Client, held: dict[str, str]) -> None:
    place = f"{held['experiment_id']}/{held['run_id']}/artifacts/mine.txt"
    assert http.put(f"{PROXY}/artifacts/{place}", content=b"mine").status_code == 200
    for method, path, body in (
        ("PUT", f"artifacts/{place}", b"yours"), ("PUT", f"artifacts/{place}", b"x" * (2 << 20)), ("DELETE", f"artifacts/{place}", b""),
        ("DELETE", f"artifacts/{place.removesuffix('mine.txt')}", b""),
    ):  # fmt: skip
        answer = reader.request(method, f"{PROXY}/{path}", content=body)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED"), (method, path)
    assert reader.get(f"{PROXY}/artifacts/{place}").content == b"mine"


@pytest.mark.parametrize("path", ["/runs/search", "/runs/log-batch"])  # a row, and one of the hot path
@pytest.mark.parametrize(
    "sent", [b"Basic \xff", b"Basic //8=", b"Basic AA==", b"Bearer " + b"x" * 10_000, b"Bearer", b"Bearer \xe9", b"Digest x", b""]
)
def test_credentials_that_are_none_let_nobody_in(server: RunningServer, path: str, sent: bytes) -> None:
    answer = httpx.post(server.url + API + path, json={}, headers=[(b"authorization", sent)], timeout=60)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("project", ["%00", "%ff", "x" * 5000, "a%2fb", "%0a", "nothing"])
def test_a_project_that_is_none_is_not_found(http: httpx.Client, project: str) -> None:
    for path in ("runs/search", "runs/log-batch"):
        answer = http.post(f"/p/{project}{API}/{path}", json={})
        assert answer.status_code in {403, 404}, answer.text


@pytest.fixture(scope="module")
def elsewhere(server: RunningServer, http: httpx.Client) -> dict[str, str]:
    """Ids of things in a second project."""
    Client(HttpTransport(server.url, server.token)).governance.create_project("second")
    return _made(http, f"/p/second{API}")


@pytest.mark.parametrize(("row", "method"), _rows())
def test_ids_of_another_project_name_nothing_here(http: httpx.Client, elsewhere: dict[str, str], row: Row, method: str) -> None:
    numbered = {name: text for name, text in elsewhere.items() if not name.startswith("experiment")}  # numbers exist in every project
    named = {name for name in ("run_id", "model_id", "trace_id", "request_id", "webhook_id", "name") if name in _fields(row.body)}
    if not named or "presigned" in row.path or row.path.endswith(("/create", "/search")) or row.path in {"/webhooks", "/logged-models"}:
        return
    body = _sensible(row.body, {**numbered, "experiment_id": "0", "experiment_name": "Default"})
    body.pop("url", None)  # looked up before the webhook is
    address = _address(row, elsewhere)
    answer = (
        http.get(address, params={k: v for k, v in body.items() if v is not None})
        if method == "GET"
        else http.request(method, address, json=body)
    )
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST"), answer.text


def test_artifacts_of_another_project_are_not_here(http: httpx.Client, elsewhere: dict[str, str]) -> None:
    for owner in (f"1/{elsewhere['run_id']}", f"1/models/{elsewhere['model_id']}", f"1/traces/{elsewhere['trace_id']}"):
        place = f"{PROXY}/artifacts/{owner}/artifacts/theirs.txt"
        assert http.put(f"/p/second{place}", content=b"theirs").status_code == 200
        for method in ("GET", "PUT", "DELETE"):
            answer = http.request(method, place, content=b"ours" if method == "PUT" else None)
            assert answer.status_code == 404 or (method == "DELETE" and answer.status_code == 200), (owner, method, answer.text)
        assert http.get(f"/p/second{place}").content == b"theirs"


def _fields(kind: Any) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)}


def _stored(home: Path) -> set[tuple[str, int]]:
    """Blobs of a home and their sizes."""
    return {(path.name, path.stat().st_size) for path in (home / "blobs").rglob("*") if path.is_file() and "index.db" not in path.name}


def _files(folder: Path) -> set[str]:
    """Every file but those of the database, the log and the blobs' own folder."""
    own = re.compile(r"^home/(blobs|rung\.db|live|serving)|server\.log$")
    return {name for path in folder.rglob("*") if path.is_file() and not own.search(name := str(path.relative_to(folder)))}


def _raw(server: RunningServer, line: str, body: bytes, *, length: int | None = None, hang_up: bool = False) -> tuple[int, bytes]:
    """Status and body of a request written to the socket as it stands."""
    host = server.url.removeprefix("http://")
    head = f"{line}\r\nHost: {host}\r\nAuthorization: Bearer {server.token}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=60) as wire:
        wire.sendall(f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode("latin-1") + body)
        if hang_up:
            return 0, b""
        said = b"".join(iter(lambda: wire.recv(65536), b""))
    head_, _, answer = said.partition(b"\r\n\r\n")
    return int(head_.split()[1]), answer
