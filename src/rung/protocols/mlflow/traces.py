"""Rows of traces. Spans arrive as the artifact ``traces.json`` of the trace, not through the span endpoint of OpenTelemetry."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rung.core.errors import Invalid
from rung.protocols.mlflow import shapes, wire
from rung.protocols.mlflow.routes import Answer, Call, Row, row
from rung.tracking import traces as t
from rung.tracking.records import GetExperiment

if TYPE_CHECKING:
    from rung.protocols.mlflow.table import MakeTransport

_V3, _V2 = "/api/3.0/mlflow/traces", "/traces"
_LOCATION = "mlflow.artifactLocation"
_SECONDS = re.compile(r"^([0-9]{1,12}(?:\.[0-9]{1,9})?)s$")


class ExperimentPlace(wire.Body):
    """The experiment a trace belongs to."""

    experiment_id: str


class Place(wire.Body):
    """Where a trace belongs."""

    mlflow_experiment: ExperimentPlace | None = None


class InfoBody(wire.Body):
    """What the client says of a trace."""

    trace_id: str
    trace_location: Place | None = None
    request_time: str | None = None
    execution_duration: str | None = None
    state: str | None = None
    tags: dict[str, str] | None = None
    trace_metadata: dict[str, str] | None = None
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None


class TraceBody(wire.Body):
    """A trace without its spans."""

    trace_info: InfoBody


class StartBody(wire.Body):
    """A trace to be kept."""

    trace: TraceBody


class SearchBody(wire.Body):
    """What to look for."""

    locations: tuple[Place, ...] | None = ()
    filter: str | None = None
    max_results: int | None = None
    order_by: tuple[str, ...] | None = ()
    page_token: str | None = None


class IdBody(wire.Body):
    """One trace, by the path."""

    trace_id: str


class IdsBody(wire.Body):
    """Several traces."""

    trace_ids: tuple[str, ...] = ()


class TagBody(IdBody):
    """One tag of a trace."""

    key: str
    value: str | None = ""


class DeleteBody(wire.Body):
    """Which traces to forget."""

    experiment_id: str
    max_timestamp_millis: wire.Millis | None = None
    max_traces: int | None = None
    request_ids: tuple[str, ...] | None = ()
    trace_ids: tuple[str, ...] | None = ()


@row("POST", _V3, StartBody, t.SaveTrace, GetExperiment)
def start(body: StartBody, call: Call) -> Answer:
    info = body.trace.trace_info
    place = info.trace_location.mlflow_experiment if info.trace_location else None
    number = shapes.experiment_number(place.experiment_id if place else "0")
    chosen = call(GetExperiment(number=number)).artifact_location
    trace = shapes.trace_id(info.trace_id)
    tags = {**(info.tags or {}), _LOCATION: f"{shapes.location(number, chosen)}/traces/{trace}/artifacts"}
    others = {
        "client_request_id": info.client_request_id,
        "request_preview": info.request_preview,
        "response_preview": info.response_preview,
    }
    kept = t.Trace(
        id=trace, experiment_number=number, at=_instant(info.request_time), duration_ms=_milliseconds(info.execution_duration),
        state=info.state or "STATE_UNSPECIFIED", tags=tags, metadata=info.trace_metadata or {}, info=wire.without_empty(others),
    )  # fmt: skip
    return {"trace": {"trace_info": _told(call(t.SaveTrace(trace=kept)))}}


@row("POST", _V3 + "/search", SearchBody, t.SearchTraces)
def search(body: SearchBody, call: Call) -> Answer:
    numbers = tuple(shapes.experiment_number(p.mlflow_experiment.experiment_id) for p in body.locations or () if p.mlflow_experiment)
    if not numbers:
        return {}
    page = call(
        t.SearchTraces(
            experiments=numbers, filter=body.filter or "", order_by=tuple(body.order_by or ()), after=shapes.mark_of(body.page_token),
            limit=min(max(body.max_results or 100, 1), 50_000),
        )
    )  # fmt: skip
    return wire.without_empty({"traces": [_told(item) for item in page.items], "next_page_token": shapes.page_token(page.next)})


@row("GET", _V3 + "/{trace_id}", IdBody, t.GetTrace)
def get(body: IdBody, call: Call) -> Answer:
    return {"trace": {"trace_info": _told(call(t.GetTrace(trace=shapes.trace_id(body.trace_id))))}}


@row("POST", _V3 + "/batchGetInfos", IdsBody, t.GetTrace)
def batch_get_infos(body: IdsBody, call: Call) -> Answer:
    return {"trace_infos": [_told(call(t.GetTrace(trace=shapes.trace_id(item)))) for item in body.trace_ids]}


@row("PATCH", _V3 + "/{trace_id}/tags", TagBody, t.TagTrace)
def set_tag(body: TagBody, call: Call) -> Answer:
    call(t.TagTrace(trace=shapes.trace_id(body.trace_id), tags={body.key: body.value or ""}))
    return {}


@row("DELETE", _V3 + "/{trace_id}/tags", TagBody, t.TagTrace)
def delete_tag(body: TagBody, call: Call) -> Answer:
    call(t.TagTrace(trace=shapes.trace_id(body.trace_id), tags={body.key: None}))
    return {}


@row("POST", _V3 + "/delete-traces", DeleteBody, t.DeleteTraces)
def delete(body: DeleteBody, call: Call) -> Answer:
    ids = tuple(shapes.trace_id(item) for item in (*(body.request_ids or ()), *(body.trace_ids or ())))
    before = None if body.max_timestamp_millis is None else wire.instant(body.max_timestamp_millis)
    number = shapes.experiment_number(body.experiment_id)
    most = min(max(body.max_traces or 100_000, 1), 100_000)
    return {"traces_deleted": call(t.DeleteTraces(experiment_number=number, traces=ids, before=before, most=most))}


# The client still asks for these by their older addresses.
_OLDER = tuple(replace(item, path=item.path.replace(_V3, _V2)) for item in (set_tag, delete_tag, delete))
ROWS: tuple[Row, ...] = (start, search, get, batch_get_infos, set_tag, delete_tag, delete, *_OLDER)


def routes(make_transport: MakeTransport) -> list[BaseRoute]:
    """Where spans would be asked for; the first says in words the client looks for that they shall come as an artifact instead."""

    async def not_here(request: Request) -> Response:
        message = "REST OTLP span logging is not supported here; the spans of a trace are its artifact."
        return Response(wire.encode({"error_code": "NOT_IMPLEMENTED", "message": message}), 501, media_type="application/json")

    paths = [f"{prefix}/{name}" for prefix in (_V3, _V3.replace("/api/", "/ajax-api/")) for name in ("get", "batchGet")]
    return [Route("/v1/traces", not_here, methods=["POST"]), *(Route(path, not_here, methods=["GET"]) for path in paths)]


def _told(trace: t.Trace) -> dict[str, Any]:
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": str(trace.experiment_number)}}
    return {
        "trace_id": trace.id, "trace_location": place, "request_time": trace.at.isoformat().replace("+00:00", "Z"),
        "execution_duration": f"{trace.duration_ms / 1000:.6f}s", "state": trace.state, "tags": trace.tags,
        "trace_metadata": trace.metadata, **trace.info,
    }  # fmt: skip


def _instant(text: str | None) -> datetime:
    try:
        found = datetime.fromisoformat((text or "").replace("Z", "+00:00"))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Invalid(f"{(text or '')[:60]!r} is not an instant.", code="mlflow.bad_instant", hint="Send request_time as RFC 3339.")
    return found


def _milliseconds(text: str | None) -> float:
    match = _SECONDS.match(text or "0s")
    if match is None:
        raise Invalid(f"{(text or '')[:60]!r} is not a duration.", code="mlflow.bad_duration", hint="Send execution_duration like 0.25s.")
    return float(match[1]) * 1000
