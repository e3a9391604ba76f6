"""Handlers of the prediction log."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl

from rung.core.errors import Conflict, Invalid
from rung.core.requests import handles
from rung.governance.operations import trace_lineage
from rung.governance.records import Edge, Node, Trace, TraceLineage
from rung.serving import log_compacting, predictions, telling
from rung.serving import log_records as lr
from rung.serving import records as r
from rung.serving.explaining import BASE
from rung.serving.live import live_table
from rung.serving.log_store import LogStore
from rung.serving.log_where import columns_of, condition
from rung.serving.store import required
from rung.serving.unpacking import DETAILS
from rung.storage.scope import Scope

_EVERY = {**predictions.SCHEMA, **DETAILS}


@handles(r.FindPrediction)
def find_prediction(request: r.FindPrediction, scope: Scope) -> r.Prediction:
    """One logged prediction. Raises NotFound."""
    name, frame = predictions.find(scope, request.id, request.deployment, details=True)
    row = frame.row(0, named=True)
    inputs = {key.removeprefix("input."): value for key, value in row.items() if key not in _EVERY}
    return r.Prediction(
        id=row["prediction_id"], deployment=name, model=row["model"], number=row["version"], revision=row["revision"], arm=row["arm"],
        event_time=row["event_time"], answered_at=row["answered_at"], score=row["score"], inputs=inputs,
        latency_ms=(row["latency_us"] or 0) / 1000, caller=row["caller"] or "", request_id=row["request_id"] or "",
        trace_id=row["trace_id"] or "", flags=tuple(row["flags"] or ()), scores=tuple(row["scores"] or ()),
    )  # fmt: skip


@handles(r.TracePrediction)
def trace_prediction(request: r.TracePrediction, scope: Scope) -> Trace:
    """The prediction, then everything its revision came from. Raises NotFound."""
    found = find_prediction(r.FindPrediction(id=request.id, deployment=request.deployment), scope)
    start, served = Node(kind="prediction", id=found.id), Node(kind="model_version", id=f"{found.model}:{found.number}")
    revision = Node(kind="deployment", id=f"{found.deployment}:{found.revision}")
    upward = trace_lineage(TraceLineage(kind=served.kind, id=served.id), scope)
    own = (
        Edge(source=revision, relation="answered", target=start, at=found.answered_at),
        Edge(source=served, relation="served_by", target=revision, at=found.answered_at),
    )
    nodes = dict.fromkeys((start, revision, *upward.nodes))
    return Trace(start=start, nodes=tuple(nodes), edges=tuple(dict.fromkeys((*own, *upward.edges))))


@handles(lr.ExplainPrediction)
def explain_prediction(request: lr.ExplainPrediction, scope: Scope) -> Callable[[Scope], lr.PredictionExplanation]:
    """Contributions of the inputs. Raises NotFound, Conflict for a version that serves no more, Invalid for masked or dropped inputs."""
    from rung.registry.matching import matched  # noqa: PLC0415 - only where somebody asks for an explanation
    from rung.serving.graph.trying import rows_of  # noqa: PLC0415 - see above

    name, frame = predictions.find(scope, request.id, request.deployment)
    row = frame.row(0, named=True)
    live = live_table(scope.database, scope.blobs, scope.settings).get(scope.project, name)
    held = next((route for route in live.routes if (route.version.model, route.version.number) == (row["model"], row["version"])), None)
    if held is None or live.explainers is None:
        raise Conflict(
            f"{row['model']}:{row['version']} does not serve {name!r} any more.",
            code="serving.version_gone",
            hint="Deploy that version to explain it, or ask for explanations with the predictions: ?explain.",
        )
    away = {*live.options.logging.masked, *live.options.logging.dropped}
    names = [field.name for field in held.version.signature.inputs]
    missing = [column for column in names if column not in frame.columns or column in away]
    if missing:
        raise Invalid(
            f"Input {missing[0]!r} of the prediction was masked or dropped, so it cannot be explained.",
            code="serving.masked_input",
            hint="Ask for explanations with the prediction: ?explain.",
        )
    fields = held.version.signature.inputs
    rows = rows_of(matched(frame.select(names), held.version.signature, extra="drop"), fields)
    told = dict(live.explainers.of(held.version, fields, held.scoring.now, held.predictor).explain(rows)[0])
    answer = lr.PredictionExplanation(
        id=request.id,
        deployment=name,
        model=row["model"],
        number=row["version"],
        score=row["score"],
        base=told.pop(BASE),
        contributions=told,
    )
    return lambda _: answer


@handles(r.ExportPredictions)
def export_predictions(request: r.ExportPredictions, scope: Scope) -> str:
    """Digest of a Parquet blob with the predictions. Raises NotFound, Invalid for a condition that is not understood."""
    required(scope, request.deployment)
    frame = _chosen(scope, request, _conditions(request), details=request.details)
    sink = io.BytesIO()
    frame.write_parquet(sink)
    return scope.blobs.put(sink.getvalue())


@handles(lr.QueryPredictions)
def query_predictions(request: lr.QueryPredictions, scope: Scope) -> lr.PredictionTable:
    """A table of predictions. Raises NotFound, Invalid for a condition that is not understood, or a column that is not there."""
    required(scope, request.deployment)
    conditions = _conditions(request)
    if request.answered_after is not None:
        conditions.append(pl.col("answered_at") > request.answered_after)
    frame = _chosen(scope, request, conditions, details=True)
    kept = frame.sort("answered_at", "event_time", descending=request.order == "newest", maintain_order=True).head(request.limit + 1)
    unknown = [name for name in request.columns if name not in kept.columns]
    if unknown and frame.height:
        raise Invalid(
            f"There is no column {unknown[0]!r} in the log of {request.deployment!r}.",
            code="serving.no_column", hint=f"Known: {', '.join(kept.columns)}.",
        )  # fmt: skip
    names = [name for name in request.columns or kept.columns if name in kept.columns]
    rows = kept.select(names).head(request.limit).to_dicts()
    return lr.PredictionTable(deployment=request.deployment, columns=tuple(names), rows=tuple(rows), more=kept.height > request.limit)


@handles(lr.CountPredictions)
def count_predictions(request: lr.CountPredictions, scope: Scope) -> tuple[lr.PredictionCount, ...]:
    """Rows answered by day, model version, revision and arm. Raises NotFound."""
    required(scope, request.deployment)
    return tuple(
        lr.PredictionCount(
            deployment=request.deployment, day=total.day, model=total.model, number=total.number, revision=total.revision, arm=total.arm,
            logged=total.rows, unlogged=total.unlogged, shed=total.shed, errors=total.errors, busy_s=total.elapsed_us / 1e6,
        )
        for total in sorted(predictions.totals(scope, request.deployment), key=lambda total: (total.day, total.key))
    )  # fmt: skip


@handles(r.CountServed)
def count_served(request: r.CountServed, scope: Scope) -> tuple[r.ServedRows, ...]:
    """Rows served by version, arm and day, those included that are not in the log."""
    sums: dict[tuple[str, str, int, str], list[float]] = {}
    for total in predictions.totals(scope, request.deployment):
        held = sums.setdefault((total.day, total.model, total.number, total.arm), [0, 0, 0.0])
        held[0] += total.rows + total.unlogged + total.shed
        held[1] += total.errors
        held[2] += total.elapsed_us / 1e6
    return tuple(
        r.ServedRows(
            deployment=request.deployment, model=model, number=number, arm=arm, day=day, rows=int(rows), errors=int(errors), busy_s=busy
        )
        for (day, model, number, arm), (rows, errors, busy) in sorted(sums.items())
    )


@handles(r.CompactLog)
def compact_log(request: r.CompactLog, scope: Scope) -> Callable[[Scope], int]:
    """Writes Parquet for sealed segments and joins small files; the rows follow in the saving half, the removal with the next call."""
    if request.seal:
        live_table(scope.database, scope.blobs, scope.settings).log(scope.project).seal()
    log_compacting.sealed(scope)
    count, save = log_compacting.compacted(scope)
    join = log_compacting.merged(scope)

    def both(inside: Scope) -> int:
        save(inside)
        join(inside)
        return count

    return both


@handles(lr.PrunePredictions)
def prune_predictions(request: lr.PrunePredictions, scope: Scope) -> Callable[[Scope], int]:
    """Removes predictions that are too old. Raises Invalid when neither the request nor the settings say how old that is."""
    days = request.days or scope.settings.serving.log_days
    if not days:
        raise Invalid("Predictions are kept for good: serving.log_days is 0.", code="serving.no_retention", hint="Give --days N.")
    count, save = log_compacting.pruned(scope, scope.now - timedelta(days=days))
    return _counting(count, save)


@handles(lr.ErasePredictions)
def erase_predictions(request: lr.ErasePredictions, scope: Scope) -> Callable[[Scope], int]:
    """Takes predictions out of the log. Raises NotFound, Invalid unless it is said which."""
    required(scope, request.deployment)
    if bool(request.ids) == bool(request.column) or (request.column and request.value is None):
        raise Invalid(
            "Say which predictions to erase: those with a value in an input column, or those with some ids.",
            code="serving.erase_what", hint="rung predictions erase --column customer --value 4711, or --id ID.",
        )  # fmt: skip
    _take_in(scope)
    column, values = ("prediction_id", request.ids) if request.ids else (request.column, (request.value,))
    count, save = log_compacting.erased(scope, request.deployment, column, list(values), request.reason)
    return _counting(count, save)


@handles(lr.ListRemovals)
def list_removals(request: lr.ListRemovals, scope: Scope) -> tuple[lr.Removal, ...]:
    """What was taken out of the log, newest first. Raises NotFound."""
    required(scope, request.deployment)
    return tuple(LogStore(scope.connection, scope.project).removals(request.deployment))


@handles(lr.ListSinks)
def list_sinks(request: lr.ListSinks, scope: Scope) -> tuple[lr.SinkState, ...]:
    """Sinks of deployments with what they were told."""
    return telling.states(scope)


@handles(lr.TellSinks)
def tell_sinks(request: lr.TellSinks, scope: Scope) -> Callable[[Scope], int]:
    """Tells sinks what is new; how far they have read is kept batch by batch."""
    mine = [held for held in telling.with_sinks(scope) if request.deployment in {None, held.name}]
    took = sum(telling.tell(scope, held) for held in mine)
    return lambda _: took


def _take_in(scope: Scope) -> None:
    """Move all that this machine has sealed into Parquet, where it can be searched and written anew."""
    live_table(scope.database, scope.blobs, scope.settings).log(scope.project).seal()
    log_compacting.sealed(scope)
    while True:
        count, save = log_compacting.compacted(scope)
        if not count:
            return
        scope.write(save)


def _counting(count: int, save: log_compacting.Save) -> Callable[[Scope], int]:
    def saved(inside: Scope) -> int:
        save(inside)
        return count

    return saved


def _conditions(request: lr.QueryPredictions | r.ExportPredictions) -> list[pl.Expr]:
    """What a request asks of the log's own columns."""
    equal = {"model": request.model, "version": request.number, "revision": request.revision, "caller": request.caller}
    found = [pl.col(name) == value for name, value in equal.items() if value]
    return [*found, pl.col("flags").list.contains(request.flag)] if request.flag else found


def _chosen(scope: Scope, request: lr.QueryPredictions | r.ExportPredictions, conditions: list[pl.Expr], *, details: bool) -> pl.DataFrame:
    columns = list({*request.columns, *columns_of(request.where)}) if request.columns else None
    wanted = predictions.Wanted(request.start, request.end, request.arm or None, ids=request.ids)
    inside = None if columns is None else [name.removeprefix("input.") for name in columns]
    needs_details = details or bool(request.caller or request.flag or request.where)
    frame = predictions.chosen(scope, request.deployment, wanted, columns=inside, details=needs_details)
    if request.where and frame.height:
        conditions = [*conditions, condition(request.where, frame.schema)]
    try:
        frame = frame.filter(*conditions) if conditions else frame
    except pl.exceptions.PolarsError as error:
        raise Invalid(
            f"The condition cannot be applied: {str(error).splitlines()[0]}.", code="serving.bad_condition", hint="Compare like with like."
        ) from None
    if needs_details and not details:
        plain: dict[str, Any] = {name: name.removeprefix("input.") for name in frame.columns if name.startswith("input.")}
        frame = frame.drop(list(DETAILS)).rename(plain)
    return frame
