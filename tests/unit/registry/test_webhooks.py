"""Webhooks: what is told, how it is signed, where it may go, and what happens when nobody takes it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import get_args

import pytest

from rung.app.local import LocalTransport, local_transport
from rung.client.client import Client
from rung.core.clock import SystemClock
from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.records import replaced
from rung.core.settings import load_settings
from rung.engine.loop import Engine
from rung.registry import hooking
from rung.registry.hooking import PAUSES_S
from rung.registry.posting import Reply, checked_address, post, signature
from rung.registry.webhooks import EXAMPLES, DeliverWebhooks, Webhook, WebhookEvent
from rung.storage.scope import Scope
from tests.servers import wait_until

SECRET = "correct horse"


@dataclass
class Receiver:
    """A server that keeps what it is sent and answers a status that can be changed; models named ``refused`` get a 500."""

    url: str = ""
    status: int = 200
    refused: set[str] = field(default_factory=set)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


class Ahead(SystemClock):
    """A clock that stands still and can be put forward."""

    ahead = timedelta()

    def __init__(self) -> None:
        self.at = super().now()

    def now(self) -> datetime:
        """The time it was made at, and what was added."""
        return self.at + self.ahead


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Listens on a free port of this machine."""
    held = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            held.got.append((dict(self.headers), body))
            self.send_response(500 if json.loads(body)["data"].get("name") in held.refused else held.status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"seen")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_address[1]}/hook?a=b"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield held
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["sqlite", "postgresql"])
def open_inside(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalTransport]:
    """A platform that may call private addresses, on each database engine."""
    flags = {"home": str(tmp_path / "home"), "webhooks.allow_private": "true", "webhooks.timeout_s": "60"}
    if request.param == "postgresql":
        flags["storage.database"] = request.getfixturevalue("postgres").new_database()
    opened = local_transport(load_settings(tmp_path, environ={}, flags=flags))
    opened.platform.clock = Ahead()
    yield opened
    opened.close()


def told(receiver: Receiver) -> list[str]:
    """Names of the models that the receiver was told of, in the order it was."""
    return [json.loads(body)["data"]["name"] for _, body in receiver.got]


def send(transport: LocalTransport, later: float = 0.0) -> int:
    """Deliver what is due, some seconds later."""
    clock = transport.platform.clock
    assert isinstance(clock, Ahead)
    clock.ahead += timedelta(seconds=later)
    return transport.call(DeliverWebhooks())


def test_a_message_is_told_once_and_signed(open_inside: LocalTransport, receiver: Receiver) -> None:
    client = Client(open_inside)
    made = client.webhooks.create("ci", receiver.url, ["registered_model.created", "model_version_alias.created"], secret=SECRET)
    assert made.signed
    client.registry.create_model("late", tags={"team": "blue"})
    client.registry.update_model("late", tags={"team": "red"})
    assert send(open_inside) == 1
    assert send(open_inside) == 0
    ((headers, body),) = receiver.got
    assert json.loads(body)["data"] == {"name": "late", "tags": {"team": "blue"}, "description": None}
    assert (json.loads(body)["entity"], json.loads(body)["action"]) == ("registered_model", "created")
    signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.".encode() + body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    assert headers["X-MLflow-Signature"] == "v1," + base64.b64encode(digest).decode()
    (delivery,) = client.webhooks.deliveries(made.id)
    assert (delivery.status, delivery.attempts, delivery.response_status) == ("delivered", 1, 200)
    with pytest.raises(Conflict):
        client.webhooks.retry(delivery.id)


def test_a_refused_message_is_tried_again_ever_later_and_at_last_given_up(open_inside: LocalTransport, receiver: Receiver) -> None:
    client = Client(open_inside)
    webhook = client.webhooks.create("ci", receiver.url, ["registered_model.created"])
    receiver.status = 503
    client.registry.create_model("late")
    assert send(open_inside) == 1
    assert send(open_inside) == 0
    for pause in PAUSES_S:
        assert client.webhooks.deliveries(webhook.id)[0].status == "pending"
        assert send(open_inside, later=pause - 2) == 0
        assert send(open_inside, later=3) == 1
    (dead,) = client.webhooks.deliveries(webhook.id, status="dead")
    assert (dead.attempts, dead.error) == (len(PAUSES_S) + 1, "503: seen")
    assert len({headers["X-MLflow-Delivery-Id"] for headers, _ in receiver.got}) == 1
    receiver.status = 200
    client.webhooks.update(webhook.id, status="active")
    client.webhooks.retry(dead.id)
    assert send(open_inside) == 1
    assert client.webhooks.deliveries(webhook.id)[0].status == "delivered"


def test_messages_arrive_in_their_order_and_a_stubborn_one_is_left_behind(open_inside: LocalTransport, receiver: Receiver) -> None:
    client = Client(open_inside)
    client.webhooks.create("ci", receiver.url, ["registered_model.created"])
    names = [f"m{number}" for number in range(5)]
    for name in names:
        client.registry.create_model(name)
    receiver.refused = {"m1"}
    assert send(open_inside) == 2
    client.registry.create_model("m5")
    assert send(open_inside) == 0
    assert send(open_inside, later=PAUSES_S[0] + 1) == 1
    assert send(open_inside, later=PAUSES_S[1] + 1) == 5
    assert told(receiver) == ["m0", "m1", "m1", "m1", "m2", "m3", "m4", "m5"]
    receiver.refused = set()
    assert send(open_inside, later=PAUSES_S[2] + 1) == 1
    assert told(receiver)[-1] == "m1"


def test_one_slow_address_does_not_change_the_order_of_another(open_inside: LocalTransport, receiver: Receiver) -> None:
    client = Client(open_inside)
    client.webhooks.create("dead", "http://127.0.0.1:1/nobody", ["registered_model.created"])
    client.webhooks.create("ci", receiver.url, ["registered_model.created"])
    for number in range(30):
        client.registry.create_model(f"m{number}")
    while send(open_inside):
        pass
    assert told(receiver) == [f"m{number}" for number in range(30)]


def test_workers_side_by_side_send_each_message_once_and_in_order(open_inside: LocalTransport, receiver: Receiver) -> None:
    client = Client(open_inside)
    client.webhooks.create("ci", receiver.url, ["registered_model.created"])
    stop = threading.Event()

    def deliver() -> None:
        while not stop.is_set():
            open_inside.call(DeliverWebhooks())

    workers = [threading.Thread(target=deliver) for _ in range(3)]
    for worker in workers:
        worker.start()
    names = [f"m{number}" for number in range(25)]
    for name in names:
        client.registry.create_model(name)
    late = time.monotonic() + 60
    while len(receiver.got) < len(names) and time.monotonic() < late:
        time.sleep(0.05)
    stop.set()
    for worker in workers:
        worker.join()
    send(open_inside)
    assert told(receiver) == names


def test_a_round_ends_in_time_however_many_slow_receivers_there_are(
    open_inside: LocalTransport, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, sent = Client(open_inside), list[str]()
    for number in range(40):
        client.webhooks.create(f"hook-{number}", receiver.url, ["registered_model.created"])

    def slowly(scope: Scope, webhook: Webhook, secret: str, delivery: str, body: str) -> Reply:
        time.sleep(0.05)
        sent.append(delivery)
        return Reply(status=200)

    monkeypatch.setattr(hooking, "_ROUND_S", 0.1)
    monkeypatch.setattr(hooking, "_send", slowly)
    client.registry.create_model("late")
    assert send(open_inside) < 40  # eight at a time, each of them three at most
    wait_until(lambda: not send(open_inside) and len(sent) >= 40, 60, lambda: f"{len(sent)} of 40 were sent")
    assert len(set(sent)) == len(sent) == 40


def test_what_is_being_sent_is_claimed_for_longer_than_it_may_take(
    open_inside: LocalTransport, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = open_inside.platform.settings
    patient = replaced(settings, webhooks=replaced(settings.webhooks, timeout_s=60.0))
    monkeypatch.setattr(open_inside.platform, "settings", patient)
    client = Client(open_inside)
    hook = client.webhooks.create("hook", receiver.url, ["registered_model.created"])
    client.registry.create_model("late")

    def looked(scope: Scope, webhook: Webhook, secret: str, delivery: str, body: str) -> Reply:
        (held,) = client.webhooks.deliveries(hook.id)
        assert held.due_at - scope.now > timedelta(seconds=60 + 60)  # the round, and its last message
        return Reply(status=200)

    monkeypatch.setattr(hooking, "_send", looked)
    assert send(open_inside) == 1
    assert client.webhooks.deliveries(hook.id)[0].status == "delivered"


def test_a_webhook_that_takes_nothing_any_more_is_switched_off_until_somebody_mends_it(
    open_inside: LocalTransport, receiver: Receiver
) -> None:
    client = Client(open_inside)
    webhook = client.webhooks.create("ci", receiver.url, ["registered_model.created"])
    receiver.status = 500
    client.registry.create_model("late")
    send(open_inside)
    for pause in PAUSES_S:
        assert client.webhooks.get(webhook.id).status == "active"
        send(open_inside, later=pause + 1)
    assert client.webhooks.get(webhook.id).status == "failed"
    client.registry.create_model("unheard")
    assert send(open_inside, later=1) == 0
    (dead,) = client.webhooks.deliveries(webhook.id)
    with pytest.raises(Conflict, match="switched off"):
        client.webhooks.retry(dead.id)
    receiver.status = 200
    client.webhooks.update(webhook.id, status="active")
    client.webhooks.retry(dead.id)
    assert send(open_inside) == 1
    assert told(receiver)[-1] == "late"


def test_what_was_taken_or_given_up_long_ago_is_collected(open_inside: LocalTransport, receiver: Receiver) -> None:
    client = Client(open_inside)
    webhook = client.webhooks.create("ci", receiver.url, ["registered_model.created"])
    client.registry.create_model("late")
    send(open_inside)
    receiver.status = 410
    client.registry.create_model("later")
    send(open_inside)
    assert [item.status for item in client.webhooks.deliveries(webhook.id)] == ["dead", "delivered"]
    assert client.webhooks.get(webhook.id).status == "failed"
    clock = open_inside.platform.clock
    assert isinstance(clock, Ahead)
    clock.ahead += timedelta(days=2)
    assert client.governance.collect_garbage(older_than_days=1).removed["webhook deliveries"] == 2
    assert client.webhooks.deliveries(webhook.id) == ()


@pytest.mark.parametrize(("status", "end"), [(302, "pending"), (410, "dead"), (404, "pending")])
def test_no_redirect_is_followed_and_a_receiver_that_is_gone_is_believed(
    open_inside: LocalTransport, receiver: Receiver, status: int, end: str
) -> None:
    client = Client(open_inside)
    webhook = client.webhooks.create("ci", receiver.url, ["registered_model.created"])
    receiver.status = status
    client.registry.create_model("late")
    send(open_inside)
    assert [item.status for item in client.webhooks.deliveries(webhook.id)] == [end]
    assert len(receiver.got) == 1


def test_a_transaction_that_fails_tells_nobody(open_inside: LocalTransport, receiver: Receiver) -> None:
    client = Client(open_inside)
    client.webhooks.create("ci", receiver.url, ["registered_model.created", "model_version_alias.created"])
    client.registry.create_model("late")
    with pytest.raises(NotFound):
        client.registry.set_alias("late", "shadow", 3)
    assert send(open_inside) == 1


def test_a_webhook_is_changed_tried_and_forgotten(open_inside: LocalTransport, receiver: Receiver) -> None:
    client = Client(open_inside)
    made = client.webhooks.create("ci", receiver.url, ["verdict.failed"])
    tried = client.webhooks.test(made.id)
    assert (tried.success, tried.response_status, tried.response_body) == (True, 200, "seen")
    assert client.webhooks.update(made.id, status="disabled", events=["run.finished"]).events == ("run.finished",)
    assert client.webhooks.deliveries(made.id) == ()
    client.webhooks.delete(made.id)
    with pytest.raises(NotFound):
        client.webhooks.get(made.id)
    assert client.webhooks.list().items == ()


def test_the_end_of_a_run_is_told_by_the_engine(open_inside: LocalTransport, receiver: Receiver) -> None:
    client = Client(open_inside)
    client.webhooks.create("ci", receiver.url, ["run.finished"])
    run = client.tracking.start("train").id
    client.tracking.finish(run)
    engine = Engine(open_inside.platform)
    engine.run_until_idle(timeout_s=60)
    wait_until(lambda: bool(receiver.got), 60, lambda: "nobody was told")
    engine.stop()
    ((_, body),) = receiver.got
    assert json.loads(body)["data"]["run_id"] == run
    assert json.loads(body)["data"]["status"] == "succeeded"


def test_the_secret_is_in_no_answer_and_not_in_the_audit_trail(open_inside: LocalTransport, receiver: Receiver) -> None:
    client = Client(open_inside)
    made = client.webhooks.create("ci", receiver.url, ["run.finished"], secret=SECRET)
    client.webhooks.update(made.id, secret=SECRET + " battery")
    seen = repr(client.webhooks.list()) + repr(client.governance.audit())
    assert SECRET not in seen
    assert "********" in seen


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x", "https://127.0.0.1/x", "https://localhost/x", "https://[::1]/x", "https://10.0.0.1/x", "https://169.254.169.254/x",
        "https://0.0.0.0/x", "https://[::ffff:10.0.0.1]/x", "https://192.168.1.1:8443/x", "ftp://example.org/x", "https:///x",
        "https://user:pass@example.org/x", "file:///etc/passwd", "https://2130706433/", "https://example.org:99999/", "http://93.184.216.34/",
        "https://[fd00::1]/", "https://100.64.0.1/", "https://224.0.0.1/", "https://[64:ff9b::7f00:1]/", "https://[::10.0.0.1]/",
        "https://[2002:7f00:1::1]/", "https://[fe80::1%25eth0]/", "https://255.255.255.255/", "https://240.0.0.1/", "https://0x7f.1/",
    ],
)  # fmt: skip
def test_an_address_inside_is_refused(client: Client, url: str) -> None:
    with pytest.raises(Invalid):
        client.webhooks.create("ci", url, ["run.finished"])


def test_a_receiver_that_drips_is_hung_up_on() -> None:
    line = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        with suppress(OSError), line.accept()[0] as caller:
            for _ in range(600):
                caller.sendall(b"H")
                time.sleep(0.1)

    dripping = threading.Thread(target=drip)
    dripping.start()
    before = time.monotonic()
    reply = post(f"http://127.0.0.1:{line.getsockname()[1]}/", "{}", {}, allow_private=True, timeout_s=1.0)
    assert time.monotonic() - before < 30
    assert not reply.taken
    assert "no answer within 1 s" in reply.error
    dripping.join()
    line.close()


def test_a_public_address_is_let_pass() -> None:
    assert checked_address("https://93.184.216.34/x", allow_private=False)[1] == "93.184.216.34"


def test_the_signature_agrees_with_the_hand() -> None:
    # printf '%s' 'id.1700000000.{}' | openssl dgst -sha256 -hmac key -binary | base64
    assert signature("key", "id", "1700000000", "{}") == "v1," + _by_hand(b"key", b"id.1700000000.{}")


def test_every_event_has_an_example() -> None:
    assert set(EXAMPLES) == set(get_args(WebhookEvent))


def _by_hand(key: bytes, text: bytes) -> str:
    """HMAC from its definition: two hashes over the key padded to a block, once with each of its two masks."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + text).digest()
    return base64.b64encode(hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()).decode()


def test_a_webhook_is_called_by_its_name_too(open_inside: LocalTransport, receiver: Receiver) -> None:
    client = Client(open_inside)
    made = client.webhooks.create("ci", receiver.url, ["run.finished"])
    assert client.webhooks.get("ci") == client.webhooks.get(made.id)
    assert client.webhooks.deliveries("ci") == ()
    assert client.webhooks.update("ci", status="disabled").status == "disabled"
    with pytest.raises(NotFound, match=r"no webhook 'nobody'") as caught:
        client.webhooks.get("nobody")
    assert caught.value.hint == "Known: ci."
    client.webhooks.create("ci", receiver.url, ["run.finished"])
    with pytest.raises(Conflict, match="2 webhooks are called 'ci'"):
        client.webhooks.delete("ci")
    client.webhooks.delete(made.id)
    client.webhooks.delete("ci")
    assert client.webhooks.list().items == ()
