"""OpenLineage events are what its own client would send, and arrive whatever the receiver does."""

from __future__ import annotations

import importlib
import json
import pkgutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import attr
import pytest

from rung.app.local import local_transport
from rung.client.client import Client
from rung.core.settings import Settings, load_settings
from rung.engine.history import history_of
from rung.engine.loop import Engine
from rung.engine.openlineage import run_events
from tests.protocol.lineage_project import prepared, ran

pytest.importorskip("openlineage.client")


class Receiver:
    """An endpoint that keeps what it takes; ``answers`` are the first statuses it gives."""

    def __init__(self, answers: list[int]) -> None:
        self.events: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.paths: set[str] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = answers.pop(0) if answers else 201
                if status == 201:
                    outer.events.append(json.loads(body))
                    outer.keys.add(self.headers.get("authorization"))
                    outer.paths.add(self.path)
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def kinds(self) -> list[tuple[str, str]]:
        return [(event["job"]["name"], event["eventType"]) for event in self.events]


@contextmanager
def receiving(answers: list[int] | None = None) -> Iterator[Receiver]:
    receiver = Receiver(answers or [])
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()


@contextmanager
def opened(tmp_path: Path, url: str) -> Iterator[Client]:
    flags = {"home": str(tmp_path / "home"), "openlineage.url": url, "openlineage.api_key": "secret", "openlineage.namespace": "here"}
    settings: Settings = load_settings(tmp_path, environ={}, flags=flags)
    transport = local_transport(settings)
    try:
        yield Client(transport)
    finally:
        transport.close()


def delivered(client: Client, receiver: Receiver, count: int, within_s: float = 120.0) -> None:
    engine = Engine(client.transport.platform)
    try:
        until = time.monotonic() + within_s
        while len(receiver.events) < count and time.monotonic() < until:
            engine.tick()
            time.sleep(0.01)
    finally:
        engine.close()


EXPECTED = [
    ("lineage", "START"), ("lineage.rows", "START"), ("lineage.rows", "COMPLETE"), ("lineage.total", "START"),
    ("lineage.total", "COMPLETE"), ("lineage", "COMPLETE"),
]  # fmt: skip


def test_a_run_is_told_to_the_endpoint_in_order(tmp_path: Path) -> None:
    with receiving() as receiver, opened(tmp_path, receiver.url) as client:
        prepared(client)
        run = ran(client)
        delivered(client, receiver, 6)
        assert receiver.kinds() == EXPECTED
        assert receiver.keys == {"Bearer secret"}
        assert receiver.paths == {"/api/v1/lineage"}
        assert {event["job"]["namespace"] for event in receiver.events} == {"here"}
        assert receiver.events[-1]["run"]["runId"] == str(UUID(hex=run.id))
        (dataset,) = receiver.events[-1]["inputs"]
        assert dataset["name"] == "numbers"
        assert [field["name"] for field in dataset["facets"]["schema"]["fields"]] == ["x", "word"]
        assert dataset["inputFacets"]["inputStatistics"]["rowCount"] == 3


def test_what_a_receiver_refuses_at_first_arrives_later_and_nothing_is_lost(tmp_path: Path) -> None:
    with receiving([503, 400, 201, 500]) as receiver, opened(tmp_path, receiver.url) as client:
        prepared(client)
        ran(client)
        delivered(client, receiver, 6)
        assert sorted(set(receiver.kinds())) == sorted(set(EXPECTED))


def test_while_nothing_listens_the_run_goes_on_and_its_events_wait(tmp_path: Path) -> None:
    with receiving() as receiver:
        pass  # its port is free again
    with opened(tmp_path, receiver.url) as client:
        prepared(client)
        began = time.monotonic()
        assert ran(client).status == "succeeded"
        delivered(client, receiver, 1, within_s=1.5)
        assert time.monotonic() - began < 120
    # another process, later, with a receiver that is there
    with receiving() as later, opened(tmp_path, later.url) as client:
        delivered(client, later, 6)
        assert later.kinds() == EXPECTED


def test_a_slow_receiver_does_not_keep_the_engine_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, go_on, answered = threading.Event(), threading.Event(), list[bool]()

    def slow(*_: object) -> None:
        asked.set()
        go_on.wait(120)
        answered.append(True)

    monkeypatch.setattr("rung.engine.lineage_mail.post", slow)
    with opened(tmp_path, "http://127.0.0.1:9") as client:
        prepared(client)
        ran(client)
        engine = Engine(client.transport.platform)
        try:
            until = time.monotonic() + 90
            while not asked.is_set() and time.monotonic() < until:
                engine.tick()
                time.sleep(0.01)
            assert asked.is_set()
            for _ in range(40):
                engine.tick()
            assert not answered
        finally:
            go_on.set()
            engine.close()


def test_every_event_and_facet_is_one_of_openlineages_own(client: Client) -> None:
    from openlineage.client import event_v2

    prepared(client)
    ran(client)
    failing = ran(client, times=1000)
    assert failing.status == "failed"
    known = _facets()
    used = set()
    for run in ("lineage:1", "lineage:2"):
        for event in run_events(history_of(client.transport, run), "here"):
            event_v2.RunEvent(
                eventType=event_v2.RunState[event["eventType"]], eventTime=event["eventTime"],
                run=event_v2.Run(runId=event["run"]["runId"]), job=event_v2.Job(namespace="here", name=event["job"]["name"]),
                producer=event["producer"],
            )  # fmt: skip
            for facet in _all_facets(event):
                name = facet["_schemaURL"].rpartition("/")[2]
                if facet["_schemaURL"].startswith("https://openlineage.io"):
                    fields = {key: value for key, value in facet.items() if not key.startswith("_")}
                    assert known[name]._get_schema() == facet["_schemaURL"]
                    assert {f.name for f in attr.fields(known[name]) if f.default is attr.NOTHING} <= set(fields)
                    known[name](**fields)
                    used.add(name)
    assert used >= {
        "ParentRunFacet",
        "SchemaDatasetFacet",
        "ErrorMessageRunFacet",
        "ExecutionParametersRunFacet",
        "JobTypeJobFacet",
        "DataQualityAssertionsDatasetFacet",
    }
    kinds = [(event["job"]["name"], event["eventType"]) for event in run_events(history_of(client.transport, "lineage:2"), "here")]
    assert kinds[-2:] == [("lineage.total", "FAIL"), ("lineage", "FAIL")]
    assert ("lineage.rows", "COMPLETE") in kinds  # cached, and told so
    cached = next(e for e in run_events(history_of(client.transport, "lineage:2"), "here") if e["job"]["name"] == "lineage.rows")
    assert cached["run"]["facets"]["rung_step"]["status"] == "cached"


def _facets() -> dict[str, Any]:
    from openlineage.client import generated

    found = {}
    for module in pkgutil.iter_modules(generated.__path__):
        for name, held in vars(importlib.import_module(f"openlineage.client.generated.{module.name}")).items():
            if isinstance(held, type) and attr.has(held):
                found[name] = held
    return found


def _all_facets(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "_schemaURL" in value:
            yield value
        for item in value.values():
            yield from _all_facets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _all_facets(item)
