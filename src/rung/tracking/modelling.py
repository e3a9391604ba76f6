"""Handlers of logged models."""

from __future__ import annotations

from rung.core.errors import Invalid
from rung.core.filters import All, Compare, Either, Expression, Not, OrderBy, comparisons, holds, parse, parse_order
from rung.core.ids import new_id
from rung.core.records import Page
from rung.core.requests import handles
from rung.governance.lineage import link, node
from rung.storage.scope import Scope
from rung.tracking import logged as m
from rung.tracking.paging import sorted_page
from rung.tracking.records import ModelMetric
from rung.tracking.rules import new_params
from rung.tracking.store import ExperimentStore, LoggedStore, RunStore

_NAMES = {name: name for name in ("id", "name", "status", "type", "run", "created_at", "updated_at", "created_by", "experiment_number")}
_MLFLOW = {
    "model_id": "id", "name": "name", "status": "status", "model_type": "type", "source_run_id": "run", "creator_id": "created_by",
    "creation_timestamp": "created_at", "creation_timestamp_ms": "created_at", "creation_time": "created_at",
    "last_updated_timestamp": "updated_at", "last_updated_timestamp_ms": "updated_at", "last_updated_time": "updated_at",
    "experiment_id": "experiment_number",
}  # fmt: skip
_STATUSES = {"pending": "LOGGED_MODEL_PENDING", "ready": "LOGGED_MODEL_READY", "failed": "LOGGED_MODEL_UPLOAD_FAILED"}


@handles(m.CreateLoggedModel)
def create_logged_model(request: m.CreateLoggedModel, scope: Scope) -> m.LoggedModel:
    """The pending logged model. Raises NotFound for an unknown experiment or run."""
    store = LoggedStore(scope.connection, scope.project)
    held = store.find(request.id) if request.id else None
    if held is not None:
        return held
    if request.experiment_number:
        ExperimentStore(scope.connection, scope.project).get(request.experiment_number)
    if request.run:
        RunStore(scope.connection, scope.project).row(request.run)
    model = m.LoggedModel(
        id=request.id or new_id(), experiment_number=request.experiment_number, name=request.name, status="pending",
        created_at=scope.now, updated_at=scope.now, created_by=scope.who, type=request.type,
        run=request.run, params=request.params, tags=request.tags,
    )  # fmt: skip
    store.add(model)
    if model.run:
        link(scope, node("run", model.run), "produced", node("logged_model", model.id))
    return model


@handles(m.GetLoggedModel)
def get_logged_model(request: m.GetLoggedModel, scope: Scope) -> m.LoggedModel:
    """One logged model. Raises NotFound."""
    return LoggedStore(scope.connection, scope.project).get(request.model)


@handles(m.UpdateLoggedModel)
def update_logged_model(request: m.UpdateLoggedModel, scope: Scope) -> m.LoggedModel:
    """The changed logged model. Raises NotFound; Conflict for a param with another value."""
    store = LoggedStore(scope.connection, scope.project)
    store.take_turn(request.model)
    held = store.get(request.model)
    tags = {key: value for key, value in {**held.tags, **request.tags}.items() if value is not None}
    fresh = new_params(dict(held.params), dict(request.params))
    store.change(
        held.id, status=request.status or held.status, tags=tags, params={**held.params, **fresh}, updated_at=scope.now
    )  # fmt: skip
    return store.get(held.id)


@handles(m.DeleteLoggedModel)
def delete_logged_model(request: m.DeleteLoggedModel, scope: Scope) -> m.LoggedModel:
    """The logged model, put aside. Raises NotFound."""
    store = LoggedStore(scope.connection, scope.project)
    held = store.get(request.model)
    store.change(held.id, deleted_at=scope.now, updated_at=scope.now)
    return store.find(held.id) or held


@handles(m.SearchLoggedModels)
def search_logged_models(request: m.SearchLoggedModels, scope: Scope) -> Page[m.LoggedModel]:
    """A page of logged models. Raises Invalid for a filter or an order that makes no sense."""
    store, names = LoggedStore(scope.connection, scope.project), _MLFLOW if request.dialect == "mlflow" else _NAMES
    expression = parse(request.filter, only_and=request.dialect == "mlflow")
    _check(expression, names)
    newest = next(theirs for theirs, ours in names.items() if ours == "created_at")
    asked = [_order(item) for item in request.order_by] or [(OrderBy(entity="attribute", key=newest, descending=True), ())]
    for order, _ in asked:
        _check(Compare(entity=order.entity, key=order.key, operator="present"), names)
    if request.datasets and not any(claim.entity == "metric" for claim in comparisons(expression)):
        found = [item for item in store.among(request.experiments) if _measured(item, None, request.datasets)]
    else:
        found = store.among(request.experiments)
    kept = [item for item in found if _holds(expression, item, names, request.datasets)]
    on = {id(order): datasets for order, datasets in asked}

    def value(item: m.LoggedModel, order: OrderBy) -> str | int | float | None:
        return _value(item, order.entity, order.key, names, on[id(order)])

    return sorted_page(kept, [order for order, _ in asked], value, lambda item: item.id, request.after, request.limit)


def _order(asked: str | m.OrderedOn) -> tuple[OrderBy, tuple[m.MeasuredOn, ...]]:
    """An order, and the dataset that counts for it. Raises Invalid for what is measured on none."""
    if isinstance(asked, str):
        return parse_order(asked), ()
    order = parse_order(asked.by)
    if order.entity != "metric":
        raise Invalid(f"{asked.by!r} is no metric, so no dataset orders by it.", code="tracking.bad_order", hint="Leave the dataset out.")
    return order, (asked.dataset,)


def _holds(expression: Expression, item: m.LoggedModel, names: dict[str, str], datasets: tuple[m.MeasuredOn, ...]) -> bool:
    if isinstance(expression, All):
        return all(_holds(part, item, names, datasets) for part in expression.parts)
    if isinstance(expression, Either):
        return any(_holds(part, item, names, datasets) for part in expression.parts)
    if isinstance(expression, Not):
        return not _holds(expression.part, item, names, datasets)
    if expression.entity == "metric":
        values: list[float | None] = [metric.value for metric in _measured(item, expression.key, datasets)]
        return any(holds(expression, lambda *_, value=value: value) for value in values or [None])
    return holds(expression, lambda entity, key: _value(item, entity, key, names, ()))


def _measured(item: m.LoggedModel, key: str | None, datasets: tuple[m.MeasuredOn, ...]) -> list[ModelMetric]:
    """What was measured of a model: one metric or any, on the datasets or on any."""
    return [
        metric
        for metric in item.metrics
        if key in {None, metric.key}
        and (not datasets or any(metric.dataset_name == d.name and d.digest in {"", metric.dataset_digest} for d in datasets))
    ]


def _check(expression: Expression, names: dict[str, str]) -> None:
    if isinstance(expression, Compare):
        if expression.entity == "attribute" and expression.key not in names:
            raise Invalid(
                f"Logged models have no attribute {expression.key!r}.", code="tracking.bad_filter",
                hint=f"They have {', '.join(sorted(names))}.",
            )  # fmt: skip
        if expression.entity == "dataset":
            raise Invalid(
                "A filter of logged models names no datasets.",
                code="tracking.bad_filter",
                hint="Give them beside the filter, as `datasets`.",
            )
    elif isinstance(expression, Not):
        _check(expression.part, names)
    else:
        for part in expression.parts if isinstance(expression, (All, Either)) else ():
            _check(part, names)


def _value(
    item: m.LoggedModel, entity: str, key: str, names: dict[str, str], datasets: tuple[m.MeasuredOn, ...]
) -> str | int | float | None:
    if entity == "metric":
        found = _measured(item, key, datasets)
        return max(found, key=lambda metric: (metric.at or item.created_at, metric.step)).value if found else None
    if entity in {"param", "tag"}:
        return (item.params if entity == "param" else item.tags).get(key)
    ours = names[key]
    if ours in {"created_at", "updated_at"}:
        at = item.created_at if ours == "created_at" else item.updated_at
        return at.isoformat() if key == ours else int(at.timestamp() * 1000)
    if key == "model_id":
        return f"m-{item.id}"
    if names is _MLFLOW and ours in {"status", "experiment_number"}:
        return _STATUSES[item.status] if ours == "status" else str(item.experiment_number)
    return getattr(item, ours)  # type: ignore[no-any-return]
