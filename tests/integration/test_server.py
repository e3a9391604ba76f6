"""The server at its door: health, hosts, origins, bodies, a taken port."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.servers import RunningServer, free_port


def call(server: RunningServer, operation: str, body: bytes = b"{}", **headers: str) -> httpx.Response:
    sent = {"authorization": f"Bearer {server.token}", "content-type": "application/json", **headers}
    return httpx.post(f"{server.url}/api/{operation}", content=body, headers=sent, timeout=30)


def test_the_server_says_what_it_can_and_refuses_what_it_must(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/healthz", timeout=60).text == "OK"
    assert httpx.get(f"{server.url}/readyz", timeout=60).json() == {"ready": True}
    answered = call(server, "governance.who_am_i")
    assert answered.json()["principal"]["name"] == "owner"
    assert answered.headers["x-content-type-options"] == "nosniff"
    for token in ("x", "rung_guess"):
        refused = call(server, "governance.who_am_i", authorization=f"Bearer {token}")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
    assert call(server, "governance.who_are_you").status_code == 404
    assert "who_am_i" in call(server, "governance.who_are_you").json()["error"]["hint"]
    assert call(server, "governance.who_am_i", **{"x-rung-project": "elsewhere"}).status_code == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"name": 1}', b'{"nome": "x"}', b"\xff\xfe", b"[" * 100_000, b'{"name": "\x00"}', b"null"])
def test_a_bad_body_is_a_clear_422(server: RunningServer, body: bytes) -> None:
    answer = call(server, "governance.create_project", body)
    assert answer.status_code == 422
    assert answer.json()["error"]["kind"] == "invalid"


def test_foreign_hosts_origins_and_types_are_refused(server: RunningServer) -> None:
    assert call(server, "governance.who_am_i", host="evil.example").status_code == 403
    assert call(server, "governance.who_am_i", origin="https://evil.example").status_code == 403
    assert call(server, "governance.who_am_i", **{"sec-fetch-site": "cross-site"}).status_code == 403
    assert call(server, "governance.who_am_i", **{"content-type": "text/plain"}).status_code == 422


def test_a_body_over_the_limit_is_refused(server: RunningServer) -> None:
    answer = call(server, "governance.create_project", b" " * ((64 << 20) + 1))
    assert answer.status_code == 422
    assert "64 MiB" in answer.json()["error"]["message"]


def test_openapi_describes_every_operation(server: RunningServer) -> None:
    described = msgspec.json.decode(httpx.get(f"{server.url}/api/openapi.json", timeout=60).content)
    assert described["openapi"] == "3.1.0"
    assert "/api/governance.verify_audit" in described["paths"]
    assert all(path["post"]["x-permission"] for path in described["paths"].values())


def test_nagle_is_off_on_accepted_connections(server: RunningServer) -> None:
    # A delayed acknowledgement costs 40 ms; with many small answers on one connection it would show at once.
    with httpx.Client(base_url=server.url, timeout=60) as kept:
        kept.get("/healthz")
        quickest = min(kept.get("/healthz").elapsed.total_seconds() for _ in range(200))
    assert quickest < 0.03


def test_a_taken_port_is_one_clear_message(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        command = [sys.executable, "-m", "rung.cli.main", "--home", str(tmp_path / "home"), "up", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"Port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_plain_http_on_a_public_address_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rung.cli.main", "--home", str(tmp_path / "home"), "--set", "server.host=0.0.0.0", "up"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "loopback" in done.stderr
