"""Traces as the real client makes them: decorated functions, inside runs and logged models, searched, tagged, deleted."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import SpanType

from tests.protocol.mlflow.conftest import Wire


@pytest.fixture
def traced(study: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Id of an experiment to which traces go, one after another."""
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    found = mlflow.get_experiment_by_name(study)
    assert found is not None
    return str(found.experiment_id)


@mlflow.trace(span_type=SpanType.CHAIN, attributes={"k": 1})
def outer(x: int) -> int:
    mlflow.update_current_trace(tags={"colour": "red"}, client_request_id=f"request-{x}")
    return inner(x) + 1


@mlflow.trace
def inner(x: int) -> int:
    if x < 0:
        raise ValueError("negative")
    return x * 2


def test_a_decorated_function_leaves_its_spans(traced: str) -> None:
    assert outer(3) == 7
    (trace,) = mlflow.search_traces(locations=[traced], return_type="list")
    assert [(span.name, span.inputs, span.outputs) for span in trace.data.spans] == [("outer", {"x": 3}, 7), ("inner", {"x": 3}, 6)]
    assert trace.data.spans[0].attributes["k"] == 1
    assert trace.info.state == "OK"
    assert trace.info.tags["colour"] == "red"
    assert trace.info.client_request_id == "request-3"
    assert trace.info.execution_duration is not None
    assert abs(trace.info.request_time - time.time() * 1000) < 60_000
    again = mlflow.get_trace(trace.info.trace_id)
    assert again is not None
    assert again.data.spans[1].parent_id == again.data.spans[0].span_id


def test_a_trace_of_what_failed_says_so(traced: str) -> None:
    with pytest.raises(ValueError, match="negative"):
        outer(-1)
    (trace,) = mlflow.search_traces(locations=[traced], filter_string="trace.status = 'ERROR'", return_type="list")
    assert trace.info.state == "ERROR"
    assert any(event.name == "exception" for span in trace.data.spans for event in span.events)
    assert mlflow.search_traces(locations=[traced], filter_string="attributes.status = 'OK'", return_type="list") == []


def test_a_trace_belongs_to_the_run_it_was_made_in(traced: str) -> None:
    with mlflow.start_run() as run:
        outer(1)
    outer(2)
    (trace,) = mlflow.search_traces(locations=[traced], run_id=run.info.run_id, return_type="list")
    assert trace.data.spans[0].inputs == {"x": 1}
    assert trace.info.request_metadata["mlflow.sourceRun"] == run.info.run_id


def test_traces_are_found_by_tag_name_metadata_and_time(traced: str) -> None:
    for x in (1, 2, 3):
        outer(x)
    traces = mlflow.search_traces(locations=[traced], return_type="list", order_by=["timestamp_ms ASC"])
    assert [trace.data.spans[0].inputs["x"] for trace in traces] == [1, 2, 3]
    mlflow.set_trace_tag(traces[1].info.trace_id, "kept", "yes")

    def found(text: str) -> list[int]:
        held = mlflow.search_traces(locations=[traced], filter_string=text, return_type="list", order_by=["timestamp_ms ASC"])
        return [trace.data.spans[0].inputs["x"] for trace in held]

    second = traces[1].info
    assert found("tags.kept = 'yes'") == found("tag.`kept` LIKE 'y%'") == [2]
    assert found("attributes.name = 'outer'") == found("trace.name ILIKE 'OUT%'") == [1, 2, 3]
    assert found("client_request_id = 'request-3'") == [3]
    assert found(f"attributes.timestamp_ms > {second.request_time}") in ([3], [])
    assert found(f"trace_id = '{second.trace_id}'") == [2]
    user = second.request_metadata["mlflow.user"]
    assert found(f"metadata.`mlflow.user` = '{user}'") == [1, 2, 3]
    assert found(f"request_metadata.`mlflow.user` = '{user}' AND tags.kept = 'yes'") == [2]
    assert found("execution_time_ms >= 0 AND tags.colour = 'red'") == [1, 2, 3]


@pytest.mark.parametrize("order", [None, ["timestamp_ms DESC"], ["timestamp_ms ASC"], ["execution_time_ms DESC", "trace_id ASC"]])
def test_pages_of_traces_follow_each_other(traced: str, mlflow_client: MlflowClient, order: list[str] | None) -> None:
    for x in range(5):
        outer(x)
    seen: list[str] = []
    token = None
    while True:
        page = mlflow_client.search_traces(locations=[traced], max_results=2, page_token=token, include_spans=False, order_by=order)
        seen += [trace.info.trace_id for trace in page]
        token = page.token
        if not token:
            break
    assert len(seen) == len(set(seen)) == 5
    whole = mlflow_client.search_traces(locations=[traced], include_spans=False, order_by=order)
    assert [trace.info.trace_id for trace in whole] == seen


def test_tags_of_a_trace_are_set_and_taken_off(traced: str, mlflow_client: MlflowClient) -> None:
    outer(1)
    (trace,) = mlflow_client.search_traces(locations=[traced])
    mlflow_client.set_trace_tag(trace.info.trace_id, "a/b c", "1")
    assert mlflow_client.get_trace(trace.info.trace_id).info.tags["a/b c"] == "1"
    mlflow_client.delete_trace_tag(trace.info.trace_id, "a/b c")
    assert "a/b c" not in mlflow_client.get_trace(trace.info.trace_id).info.tags


def test_traces_are_deleted_by_id_and_by_time(traced: str, mlflow_client: MlflowClient, refused: Callable[..., str]) -> None:
    for x in range(3):
        outer(x)
    first, *others = mlflow_client.search_traces(locations=[traced], order_by=["timestamp_ms ASC"])
    assert mlflow_client.delete_traces(traced, trace_ids=[first.info.trace_id]) == 1
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.get_trace, first.info.trace_id)
    assert mlflow.get_trace(first.info.trace_id, silent=True) is None
    assert mlflow_client.delete_traces(traced, max_timestamp_millis=int(time.time() * 1000) + 1000, max_traces=1) == 1
    (left,) = mlflow_client.search_traces(locations=[traced])
    assert left.info.trace_id == others[1].info.trace_id


def test_a_trace_of_a_model_names_the_model(traced: str) -> None:
    with mlflow.start_run():
        model = mlflow.initialize_logged_model(name="m")
        mlflow.set_active_model(model_id=model.model_id)
        outer(1)
    (trace,) = mlflow.search_traces(locations=[traced], model_id=model.model_id, return_type="list")
    assert trace.info.request_metadata["mlflow.modelId"] == model.model_id


def test_spans_in_threads_and_by_hand_are_kept(traced: str) -> None:
    with mlflow.start_span("root") as root:
        root.set_inputs({"question": "ünïcode 🙂"})
        with mlflow.start_span("child", span_type=SpanType.RETRIEVER) as child:
            child.set_attribute("nan", float("nan"))
            child.set_outputs([{"page": 1}])
        root.set_outputs("x" * 100_000)
    (trace,) = mlflow.search_traces(locations=[traced], return_type="list")
    assert trace.data.spans[0].outputs == "x" * 100_000
    assert trace.data.spans[1].outputs == [{"page": 1}]
    assert trace.data.spans[0].inputs == {"question": "ünïcode 🙂"}


def test_a_trace_logged_afterwards_lies_where_it_happened(traced: str, mlflow_client: MlflowClient) -> None:
    at = datetime(2013, 3, 1, 12, tzinfo=UTC)
    nanoseconds = int(at.timestamp() * 1e9)
    root = mlflow.start_span_no_context("past", start_time_ns=nanoseconds, experiment_id=traced)
    root.end(end_time_ns=nanoseconds + 1_500_000_000)
    (trace,) = mlflow_client.search_traces(locations=[traced])
    assert (trace.info.request_time, trace.info.execution_duration) == (nanoseconds // 1_000_000, 1500)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("span.name = 'x'", 400), ("feedback.good = 'yes'", 400), ("metrics.m > 1", 400), ("nothing = 'x'", 400), ("tags.a =", 400), ("tags.a = 'x' AND", 400),
        ("status = 'OK'", 200), ("tags.a IS NULL", 200), ("metadata.`x` IS NOT NULL", 200),
    ],
)  # fmt: skip
def test_a_filter_that_makes_no_sense_for_traces_is_refused(wire: Wire, experiment: str, text: str, code: int) -> None:
    body = {"locations": [{"mlflow_experiment": {"experiment_id": experiment}}], "filter": text}
    answer = wire.send("POST", "/api/3.0/mlflow/traces/search", json=body)
    assert answer.status_code == code, answer.text
    if code == 400:
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_spans_wait_for_their_trace(wire: Wire, experiment: str) -> None:
    place = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/traces/tr-{uuid.uuid4().hex}/artifacts/traces.json"
    assert wire.send("PUT", place, data=b"{}").status_code == 404


def test_the_spans_of_a_trace_are_served_to_pages(wire: Wire, traced: str) -> None:
    outer(4)
    (trace,) = mlflow.search_traces(locations=[traced], return_type="list")
    answer = wire.send("GET", "/ajax-api/2.0/mlflow/get-trace-artifact", params={"request_id": trace.info.trace_id})
    assert [span["name"] for span in answer.json()["spans"]] == ["outer", "inner"]
