"""Sinks: what a deployment answered reaches its receiver, again until taken, after a restart, and in no answer's way."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.app.local import LocalTransport, local_transport
from rung.client.client import Client
from rung.core.errors import Invalid
from rung.core.settings import Settings, load_settings
from rung.serving import records as r
from rung.serving.log import log_folder, segments
from rung.serving.log_records import ListSinks, SinkState, TellSinks
from rung.serving.log_store import LogStore
from rung.serving.options import DeploymentOptions, LogOptions
from rung.serving.sinks.family import SINKS, Event, Spec, sink_of

NAME = "tiny"


@dataclass
class Receiver:
    """What a webhook was told, and what it answers."""

    url: str
    posts: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    status: int = 200
    largest: int = 1 << 30

    def events(self) -> list[dict[str, Any]]:
        """Events of all posts that were taken, in order."""
        return [event for _, body in self.posts for event in (body if isinstance(body, list) else [body])]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    held = Receiver("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            status = held.status if len(raw) <= held.largest else 413
            if status == 200:
                held.posts.append(({k.lower(): v for k, v in self.headers.items()}, json.loads(raw)))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield held
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(home: Path, tmp_path: Path) -> Settings:
    """Settings under which this machine may be told."""
    flags = {"home": str(home), "webhooks.allow_private": "true"}
    return load_settings(tmp_path, environ={"HOOK": "s3cret-token"}, flags=flags)


def deployed(client: Client, sink: str, rows: int = 120, **settings: Any) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    frame = pl.DataFrame({"a": generator.normal(size=rows), "b": generator.normal(size=rows)})
    model = LogisticRegression().fit(frame, (frame["a"] > 0).to_numpy().astype(int))
    client.registry.register(NAME, model, example=frame.head(20), label="y")
    logging = LogOptions(sink=sink, sink_settings=settings)
    client.serving.deploy(NAME, NAME, 1, environment="staging", options=DeploymentOptions(logging=logging))
    return frame


def ids(n: int) -> list[str]:
    return [f"p{i:04d}" for i in range(n)]


def state(transport: LocalTransport) -> SinkState:
    (held,) = transport.call(ListSinks())
    return held


def patience_over(transport: LocalTransport) -> None:
    """As if the pause after a failure were over."""
    _changed(transport, earlier_by=timedelta(hours=1))


def much_patience(transport: LocalTransport) -> None:
    """As if it had failed often: the pause is minutes."""
    _changed(transport, failures=9)


def _changed(transport: LocalTransport, earlier_by: timedelta = timedelta(), **values: Any) -> None:
    held = state(transport)

    def change(connection: Any) -> None:
        from msgspec.structs import replace

        assert held.changed_at is not None
        project = connection.exec_driver_sql("select project from prediction_sink").scalar_one()
        changed = replace(held, changed_at=held.changed_at - earlier_by, waiting_bytes=0, **values)
        LogStore(connection, project).set_sink(held.key, changed)

    transport.platform.database.write(change)


def test_batches_of_structured_events_arrive_once_and_in_order(client: Client, transport: LocalTransport, receiver: Receiver) -> None:
    frame = deployed(client, receiver.url, batch=50)
    transport.call(TellSinks())  # it begins here
    client.serving.predict(NAME, frame, ids=ids(120), batch=1)
    assert transport.call(TellSinks()) == 120
    assert transport.call(TellSinks()) == 0
    events = receiver.events()
    assert [event["id"] for event in events] == ids(120)
    assert {len(body) for _, body in receiver.posts} == {50, 20}
    headers, _ = receiver.posts[0]
    assert headers["content-type"] == "application/cloudevents-batch+json"
    one = events[7]
    assert one["specversion"] == "1.0"
    assert one["type"] == "rung.prediction"
    assert one["source"].endswith("/deployments/tiny")
    assert one["data"]["inputs"] == {"a": frame["a"][7], "b": frame["b"][7]}
    assert one["data"]["version"] == 1


def test_the_sdk_of_cloudevents_reads_them(client: Client, transport: LocalTransport, receiver: Receiver) -> None:
    cloudevents = pytest.importorskip("cloudevents.http")
    deployed(client, receiver.url, mode="structured")
    transport.call(TellSinks())
    client.serving.predict(NAME, pl.DataFrame({"a": [1.0], "b": [2.0]}), ids=["x"])
    transport.call(TellSinks())
    headers, body = receiver.posts[0]
    event = cloudevents.from_http(headers, json.dumps(body))
    assert (event["id"], event.data["inputs"]) == ("x", {"a": 1.0, "b": 2.0})


def test_binary_mode_says_the_attributes_in_headers(client: Client, transport: LocalTransport, receiver: Receiver) -> None:
    frame = deployed(client, receiver.url, mode="binary")
    transport.call(TellSinks())
    client.serving.predict(NAME, frame.head(2), ids=["ü 1", "b"])
    transport.call(TellSinks())
    headers, body = receiver.posts[0]
    assert headers["content-type"] == "application/json"
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-id"] == "%C3%BC 1"
    assert body["prediction_id"] == "ü 1"


def test_kserve_types_come_as_a_pair(client: Client, transport: LocalTransport, receiver: Receiver) -> None:
    frame = deployed(client, receiver.url, types="kserve")
    transport.call(TellSinks())
    answered = client.serving.predict(NAME, frame.head(1), ids=["x"])
    transport.call(TellSinks())
    asked, told = receiver.events()
    assert asked["type"] == "org.kubeflow.serving.inference.request"
    assert told["type"] == "org.kubeflow.serving.inference.response"
    assert asked["id"] == told["id"] == "x"
    assert told["inferenceservicename"] == NAME
    assert asked["data"]["inputs"][0] == {"name": "a", "shape": [1], "datatype": "FP64", "data": [frame["a"][0]]}
    assert told["data"]["outputs"][0]["data"] == [answered["score"][0]]


def test_a_receiver_that_is_down_loses_nothing_and_delays_no_answer(client: Client, transport: LocalTransport, receiver: Receiver) -> None:
    frame = deployed(client, receiver.url)
    transport.call(TellSinks())
    receiver.status = 503
    client.serving.predict(NAME, frame, ids=ids(120))
    assert transport.call(TellSinks()) == 0
    held = state(transport)
    assert held.failures == 1
    assert "503" in held.error
    assert held.waiting_bytes > 0
    receiver.status = 200
    much_patience(transport)
    assert transport.call(TellSinks()) == 0  # it waits
    for _ in range(3):  # compaction meanwhile takes nothing from the sink
        transport.call(r.CompactLog())
    assert segments(log_folder(transport.platform.settings.home_path, _project(transport)))
    patience_over(transport)
    assert transport.call(TellSinks()) == 120
    assert [event["id"] for event in receiver.events()] == ids(120)
    transport.call(r.CompactLog())
    assert not segments(log_folder(transport.platform.settings.home_path, _project(transport)), sealed_only=True)
    assert client.serving.predictions(NAME).height == 120


def test_the_read_position_outlives_the_process(client: Client, transport: LocalTransport, receiver: Receiver, settings: Settings) -> None:
    frame = deployed(client, receiver.url)
    transport.call(TellSinks())
    client.serving.predict(NAME, frame.head(60), ids=ids(120)[:60])
    transport.call(TellSinks())
    client.serving.predict(NAME, frame.tail(60), ids=ids(120)[60:])
    transport.close()
    again = local_transport(settings)
    try:
        assert again.call(TellSinks()) == 60
    finally:
        again.close()
    assert [event["id"] for event in receiver.events()] == ids(120)


def test_a_receiver_that_wants_less_gets_halves(client: Client, transport: LocalTransport, receiver: Receiver) -> None:
    frame = deployed(client, receiver.url)
    transport.call(TellSinks())
    receiver.largest = 20_000
    client.serving.predict(NAME, frame, ids=ids(120))
    assert transport.call(TellSinks()) == 120
    assert [event["id"] for event in receiver.events()] == ids(120)
    assert len(receiver.posts) > 1


def test_wrong_addresses_and_settings_are_told_in_the_state(client: Client, transport: LocalTransport) -> None:
    deployed(client, "ftp://somewhere/x")
    transport.call(TellSinks())
    transport.call(TellSinks())
    assert "no address of a sink" in state(transport).error
    for spec in (Spec("kafka://host"), Spec("https://example.org/x", settings={"mode": "loud"}, allow_private=True)):
        with pytest.raises(Invalid):
            sink_of(spec)
    assert SINKS.names() == ["http", "https", "kafka"]


def test_a_topic_of_a_broker_holds_every_event(client: Client, transport: LocalTransport) -> None:
    # librdkafka's own mock cluster: a broker that speaks Kafka's wire protocol over TCP, made for its maintainers' tests
    confluent = pytest.importorskip("confluent_kafka")
    cluster = confluent.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored"})
    brokers = ",".join(f"{b.host}:{b.port}" for b in cluster.list_topics(timeout=60).brokers.values())
    frame = deployed(client, f"kafka://{brokers}/predictions", mode="binary")
    transport.call(TellSinks())
    client.serving.predict(NAME, frame, ids=ids(120))
    assert transport.call(TellSinks()) == 120, state(transport).error
    consumer = confluent.Consumer({"bootstrap.servers": brokers, "group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["predictions"])
    found: dict[str, Any] = {}
    for _ in range(600):
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            found[message.key().decode()] = (dict(message.headers()), json.loads(message.value()))
        if len(found) == 120:
            break
    consumer.close()
    assert sorted(found) == ids(120)
    headers, data = found["p0003"]
    assert headers["ce_type"] == b"rung.prediction"
    assert data["inputs"]["a"] == frame["a"][3]


def test_a_broker_that_is_away_is_told_and_loses_nothing(client: Client, transport: LocalTransport) -> None:
    pytest.importorskip("confluent_kafka")
    sink = sink_of(Spec("kafka://127.0.0.1:1/predictions", timeout_s=1.0))
    with pytest.raises(Exception, match="did not take the predictions"):
        sink.send([Event({"specversion": "1.0", "id": "a", "source": "/x", "type": "t", "datacontenttype": "application/json"}, {})])
    sink.close()


def _project(transport: LocalTransport) -> str:
    return str(transport.platform.database.read(lambda c: c.exec_driver_sql("select project from deployment").scalar_one()))
