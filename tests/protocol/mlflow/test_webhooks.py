"""Webhooks of a real server to a real receiver: made with MLflow's client, signed as its receivers check, sent by the engine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookEvent
from mlflow.webhooks.delivery import _generate_hmac_signature

from rung.client.client import Client
from rung.client.transports import HttpTransport
from tests.protocol.mlflow.conftest import Served
from tests.servers import RunningServer, free_port, running_server, wait_until

pytestmark = pytest.mark.xdist_group("mlflow-registry")
SECRET = "correct horse"
SETTINGS = ("--set", "webhooks.allow_private=true")


@dataclass
class Receiver:
    """Keeps what it is sent; answers the statuses it is given, one a message, then 200."""

    port: int
    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    def told(self) -> list[str]:
        """What it was told of, in the order it was: action and model, or action and version."""
        bodies = [json.loads(body) for _, body in self.got]
        return [f"{b['entity']}.{b['action']} {b['data'].get('key') or b['data']['name']}" for b in bodies]


@pytest.fixture
def listening() -> Iterator[Callable[[Receiver], None]]:
    """Starts a receiver's server; all are stopped at the end."""
    servers: list[ThreadingHTTPServer] = []

    def start(receiver: Receiver) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", receiver.port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def client_of(served: RunningServer, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", served.token)
    return MlflowClient(served.url)


def wait_for(receiver: Receiver, count: int, seconds: float = 90.0) -> None:
    late = time.monotonic() + seconds
    while len(receiver.got) < count:
        assert time.monotonic() < late, receiver.told()
        time.sleep(0.1)


def test_messages_are_signed_tried_again_and_in_order(
    tmp_path: Path, listening: Callable[[Receiver], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver(free_port(), answers=[500])
    listening(receiver)
    with running_server(tmp_path / "home", tmp_path, settings=SETTINGS) as served:
        client = client_of(served, monkeypatch)
        events: list[Any] = ["registered_model.created", "model_version.created", "model_version_tag.set", "model_version_alias.created"]
        made = client.create_webhook("ci", receiver.url, [WebhookEvent.from_str(event) for event in events], secret=SECRET)
        client.create_registered_model("late")
        client.create_model_version("late", "s3://bucket/model")
        for key in ("a", "b", "c"):
            client.set_model_version_tag("late", "1", key, "x")
        client.set_registered_model_alias("late", "champion", "1")
        wait_for(receiver, 7)
        assert receiver.told() == [
            "registered_model.created late", "registered_model.created late", "model_version.created late", "model_version_tag.set a",
            "model_version_tag.set b", "model_version_tag.set c", "model_version_alias.created late",
        ]  # fmt: skip
        for headers, body in receiver.got:
            sent = headers["X-MLflow-Delivery-Id"], headers["X-MLflow-Timestamp"], body.decode()
            assert headers["X-MLflow-Signature"] == _generate_hmac_signature(SECRET, *sent)
        first, again = receiver.got[:2]
        assert first[0]["X-MLflow-Delivery-Id"] == again[0]["X-MLflow-Delivery-Id"]
        with Client(HttpTransport(served.url, served.token)) as rung_client:

            def tries() -> list[int]:
                return sorted(item.attempts for item in rung_client.webhooks.deliveries(made.webhook_id))

            wait_until(lambda: tries() == [1, 1, 1, 1, 1, 2], 60, lambda: f"{tries()}")  # they are entered after the answers
        tried = client.test_webhook(made.webhook_id)
        assert tried.success
        client.delete_webhook(made.webhook_id)
        assert list(client.list_webhooks()) == []


def test_a_message_outlives_a_server_that_is_killed_before_it_could_send(
    tmp_path: Path, listening: Callable[[Receiver], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver(free_port())
    with running_server(tmp_path / "home", tmp_path, settings=SETTINGS) as served:
        client = client_of(served, monkeypatch)
        client.create_webhook("ci", receiver.url, [WebhookEvent.from_str("registered_model.created")])
        client.create_registered_model("late")
        served.process.kill()
        served.process.wait()
    listening(receiver)
    with running_server(tmp_path / "home", tmp_path, settings=SETTINGS):
        wait_for(receiver, 1, 200)  # a claim of the one that was killed stands for two minutes
    assert receiver.told() == ["registered_model.created late"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "https://169.254.169.254/latest/meta-data", "https://[::1]/x", "gopher://x/"])
def test_by_default_no_webhook_leads_inside(server: Served, refused: Callable[..., str], url: str) -> None:
    client = MlflowClient()
    refused("INVALID_PARAMETER_VALUE", client.create_webhook, "ci", url, [WebhookEvent.from_str("registered_model.created")])
