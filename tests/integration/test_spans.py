"""Spans of requests, as the OpenTelemetry SDK exports them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.settings import load_settings
from rung.server.serving.composing import build_serving
from rung.server.serving.telling import Spans, listeners
from rung.serving.dataplane import Told

trace = pytest.importorskip("opentelemetry.trace")
sdk = pytest.importorskip("opentelemetry.sdk.trace")
exporting = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
ROWS = pl.DataFrame({"age": [20.0, 30.0, 40.0, 50.0] * 10})
BODY = {"inputs": [{"name": "age", "shape": [1, 1], "datatype": "FP64", "data": [25.0]}]}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def exported() -> Any:
    return memory.InMemorySpanExporter()


@pytest.fixture
def spans(exported: Any) -> Iterator[Spans]:
    provider = sdk.TracerProvider()
    provider.add_span_processor(exporting.SimpleSpanProcessor(exported))
    yield Spans(provider)
    provider.shutdown()


@pytest.fixture
def told(transport: LocalTransport, spans: Spans) -> Iterator[Any]:
    """What asks a serving process of one deployment, whose requests are told as spans."""
    client = Client(transport)
    client.registry.register("stays", LogisticRegression().fit(ROWS.to_numpy(), [1, 1, 0, 0] * 10), example=ROWS, label="stays")
    client.serving.deploy("stays", "stays", 1, environment="staging")
    plane, table, stopped = build_serving(transport.platform)
    plane.told.append(spans)  # type: ignore[attr-defined]
    table.wait(60)
    token = (transport.platform.settings.home_path / "token").read_text().strip()

    def ask(path: str, body: Any, **headers: str) -> httpx.Response:
        async def asked() -> httpx.Response:
            base, carried = "http://127.0.0.1", {"authorization": f"Bearer {token}", **headers}
            async with httpx.AsyncClient(transport=httpx.ASGITransport(plane), base_url=base, headers=carried) as http:
                return await http.post(path, json=body)

        return asyncio.run(asked())

    yield ask
    stopped()


def test_a_prediction_is_a_span_of_its_caller_s_trace_with_its_real_times(told: Any, exported: Any) -> None:
    begun = time.time_ns()
    answer = told("/v2/models/stays/infer", BODY, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="shop=1")
    assert answer.status_code == 200
    (span,) = exported.get_finished_spans()
    assert span.name == "POST /v2/models/stays/infer"
    assert span.kind is trace.SpanKind.SERVER
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}", span.parent.is_remote) == (TRACE, PARENT, True)
    assert span.context.trace_state.get("shop") == "1"
    assert dict(span.attributes) == {
        "http.request.method": "POST", "url.path": "/v2/models/stays/infer", "http.response.status_code": 200,
        "rung.deployment": "stays", "rung.revision": 1, "rung.version": 1,
    }  # fmt: skip
    assert begun - 1_000_000 <= span.start_time < span.end_time <= time.time_ns()
    assert span.status.status_code is trace.StatusCode.UNSET
    assert answer.headers["traceparent"].split("-")[1] == TRACE


def test_without_a_trace_of_the_caller_s_each_request_begins_one(told: Any, exported: Any) -> None:
    for traceparent in ({}, {"traceparent": "nonsense"}):
        assert told("/v2/models/stays/infer", BODY, **traceparent).status_code == 200
    one, other = exported.get_finished_spans()
    assert one.parent is other.parent is None
    assert one.context.trace_id != other.context.trace_id


def test_an_unsampled_trace_is_not_exported(told: Any, exported: Any) -> None:
    assert told("/v2/models/stays/infer", BODY, traceparent=f"00-{TRACE}-{PARENT}-00").status_code == 200
    assert exported.get_finished_spans() == ()


def test_a_caller_s_mistake_is_no_error_of_the_server_and_a_failure_is(told: Any, exported: Any, spans: Spans) -> None:
    assert told("/v2/models/stays/infer", {"inputs": []}).status_code == 400
    assert told("/v2/models/nobody/infer", BODY).status_code == 404
    mistake, unknown = exported.get_finished_spans()
    assert [one.status.status_code for one in (mistake, unknown)] == [trace.StatusCode.UNSET] * 2
    assert (mistake.attributes["rung.deployment"], "rung.deployment" in unknown.attributes) == ("stays", False)
    failed = Told({"type": "http", "method": "POST", "path": "/score"}, {}, 503, 0.25, 10, None, None)
    spans(failed)
    spans(replace(failed, status=504))
    for span, status in zip(exported.get_finished_spans()[2:], ("503", "504"), strict=True):
        assert span.status.status_code is trace.StatusCode.ERROR
        assert span.attributes["error.type"] == status
        assert span.end_time - span.start_time == pytest.approx(250_000_000, abs=1)


def test_the_setting_lets_requests_be_told(tmp_path: Any) -> None:
    heard, ended = listeners(load_settings(tmp_path, environ={}, flags={"serving.spans": "true"}))
    assert [type(one) for one in heard] == [Spans]
    ended()
    assert listeners(load_settings(tmp_path, environ={}))[0] == []
