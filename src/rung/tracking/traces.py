"""Traces: one request's way through instrumented code, as MLflow's client records it. Its spans are artifacts of the trace."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from rung.core.errors import Invalid, NotFound
from rung.core.filters import ENTITIES, All, Compare, Either, Entity, Expression, Not, OrderBy, holds, parse, parse_order
from rung.core.records import Count, Instant, Line, Page, Record, Text
from rung.core.requests import Effect, Request, handles
from rung.storage.scope import Scope
from rung.tracking.paging import marked, sorted_page, unmarked
from rung.tracking.records import TagChanges
from rung.tracking.store import ExperimentStore, TraceStore

TraceId = Annotated[str, Meta(pattern=r"^tr-[0-9a-f]{32}$")]
_NAMES = {
    "timestamp_ms": "at", "timestamp": "at", "request_time": "at", "execution_time_ms": "duration", "execution_time": "duration",
    "duration_ms": "duration", "status": "state", "state": "state", "name": "name", "run_id": "run", "trace_id": "id", "request_id": "id",
    "end_time_ms": "end", "end_time": "end", "client_request_id": "client_request_id", "experiment_id": "experiment",
}  # fmt: skip
# Traces have no params; what was said of one when it was made stands in their place.
_ENTITIES: dict[str, Entity] = {**ENTITIES, "metadata": "param", "request_metadata": "param", "trace": "attribute"}
_RUN, _NAME = "mlflow.sourceRun", "mlflow.traceName"


class Trace(Record):
    """A trace without its spans; ``info`` holds the client's other words about it."""

    id: TraceId
    experiment_number: Count
    at: Instant
    duration_ms: Annotated[float, Meta(ge=0)] = 0.0
    state: Line = ""
    tags: dict[str, str] = {}
    metadata: dict[str, str] = {}
    info: dict[str, Any] = {}


class SaveTrace(Request[Trace]):
    """Keep a trace; the same id again replaces what was kept."""

    operation = "tracking.save_trace"
    permission = "run:write"
    audited: ClassVar[bool] = False
    trace: Trace


class GetTrace(Request[Trace]):
    """One trace."""

    operation = "tracking.get_trace"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    trace: TraceId


class SearchTraces(Request[Page[Trace]]):
    """Traces that a filter finds (timestamp_ms, execution_time_ms, status, name, run_id; tags, metadata), newest first."""

    operation = "tracking.search_traces"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    experiments: Annotated[tuple[Count, ...], Meta(max_length=1000)] = ()
    filter: Text = ""
    order_by: Annotated[tuple[Line, ...], Meta(max_length=10)] = ()
    after: Line | None = None
    limit: Annotated[int, Meta(ge=1, le=50_000)] = 100


class TagTrace(Request[Trace]):
    """Set or, given as None, remove tags of a trace."""

    operation = "tracking.tag_trace"
    permission = "run:write"
    trace: TraceId
    tags: TagChanges


class DeleteTraces(Request[int]):
    """Forget traces of an experiment for good, by id or all that began before an instant; answers how many."""

    operation = "tracking.delete_traces"
    permission = "run:write"
    experiment_number: Count
    traces: Annotated[tuple[TraceId, ...], Meta(max_length=1000)] = ()
    before: Instant | None = None
    most: Annotated[int, Meta(ge=1, le=100_000)] = 100_000


@handles(SaveTrace)
def save_trace(request: SaveTrace, scope: Scope) -> Trace:
    """The kept trace. Raises NotFound for an unknown experiment."""
    if request.trace.experiment_number:
        ExperimentStore(scope.connection, scope.project).get(request.trace.experiment_number)
    _store(scope).save(request.trace)
    return request.trace


@handles(GetTrace)
def get_trace(request: GetTrace, scope: Scope) -> Trace:
    """One trace. Raises NotFound."""
    return _get(scope, request.trace)


@handles(SearchTraces)
def search_traces(request: SearchTraces, scope: Scope) -> Page[Trace]:
    """A page of traces. Raises Invalid for a filter or an order that makes no sense."""
    expression = parse(request.filter, entities=_ENTITIES)
    _check(expression)
    orders = [parse_order(text) for text in request.order_by] or [OrderBy(entity="attribute", key="timestamp_ms", descending=True)]
    for order in orders:
        _check(Compare(entity=order.entity, key=order.key, operator="present"))
    if not expression.parts and _is_newest(orders):
        return _newest(scope, request)
    found = _store(scope).among(request.experiments)
    kept = [item for item in found if holds(expression, lambda entity, key, item=item: _value(item, entity, key))]  # type: ignore[misc]
    return sorted_page(
        kept, orders, lambda item, order: _value(item, order.entity, order.key), lambda item: item.id, request.after, request.limit
    )


def _is_newest(orders: list[OrderBy]) -> bool:
    return len(orders) == 1 and orders[0].descending and orders[0].entity == "attribute" and _NAMES[orders[0].key] == "at"


def _newest(scope: Scope, request: SearchTraces) -> Page[Trace]:
    """A page of what most ask for, which the database sorts by its index."""
    last = None
    if request.after is not None:
        last = _store(scope).find(unmarked(request.after))
        if last is None:
            return Page(items=())
    found = _store(scope).newest(request.experiments, last, request.limit + 1)
    page = found[: request.limit]
    return Page(items=tuple(page), next=marked(page[-1].id) if len(found) > request.limit else None)


@handles(TagTrace)
def tag_trace(request: TagTrace, scope: Scope) -> Trace:
    """The trace with its new tags. Raises NotFound."""
    _store(scope).take_turn(request.trace)
    held = _get(scope, request.trace)
    tags = {key: value for key, value in {**held.tags, **request.tags}.items() if value is not None}
    _store(scope).retag(held.id, tags)
    return _get(scope, held.id)


@handles(DeleteTraces)
def delete_traces(request: DeleteTraces, scope: Scope) -> int:
    """How many were forgotten. Raises Invalid when neither ids nor an instant say which."""
    if not request.traces and request.before is None:
        raise Invalid("Neither ids nor an instant say which traces to delete.", code="tracking.which_traces", hint="Give one of them.")
    return _store(scope).delete(request.experiment_number, request.traces, request.before, request.most)


def _store(scope: Scope) -> TraceStore:
    return TraceStore(scope.connection, scope.project)


def _get(scope: Scope, trace: str) -> Trace:
    found = _store(scope).find(trace)
    if found is None:
        raise NotFound(f"There is no trace {trace}.", code="tracking.no_trace", hint="Search for it first.")
    return found


def _check(expression: Expression) -> None:
    if isinstance(expression, Compare):
        if expression.entity == "attribute" and expression.key not in _NAMES:
            raise Invalid(
                f"Traces have no attribute {expression.key!r}.", code="tracking.bad_filter", hint=f"They have {', '.join(sorted(_NAMES))}."
            )
        if expression.entity not in {"attribute", "tag", "param"}:
            raise Invalid(
                f"Traces have no {expression.entity}s.", code="tracking.bad_filter", hint="Filter by time, status, name, tags or metadata."
            )
    elif isinstance(expression, Not):
        _check(expression.part)
    else:
        for part in expression.parts if isinstance(expression, (All, Either)) else ():
            _check(part)


def _value(item: Trace, entity: str, key: str) -> str | int | float | None:
    if entity in {"tag", "param"}:
        return (item.tags if entity == "tag" else item.metadata).get(key)
    ours = _NAMES[key]
    if ours == "at":
        return int(item.at.timestamp() * 1000)
    if ours == "duration":
        return item.duration_ms
    if ours == "end":
        return item.at.timestamp() * 1000 + item.duration_ms
    if ours == "client_request_id":
        return item.info.get(ours)
    if ours == "experiment":
        return str(item.experiment_number)
    if ours == "name":
        return item.tags.get(_NAME)
    if ours == "run":
        return item.metadata.get(_RUN)
    return item.id if ours == "id" else item.state
