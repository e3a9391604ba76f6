"""Handlers of logged models."""

from __future__ import annotations

from rung.core.errors import Invalid
from rung.core.filters import All, Compare, Either, Expression, Not, OrderBy, holds, parse, parse_order
from rung.core.ids import new_id
from rung.core.records import Page
from rung.core.requests import handles
from rung.governance.lineage import link, node
from rung.governance.store import GovernanceStore
from rung.storage.scope import Scope
from rung.tracking import logged as m
from rung.tracking.paging import sorted_page
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
    principal = GovernanceStore(scope.connection).find_principal(scope.principal)
    model = m.LoggedModel(
        id=request.id or new_id(), experiment_number=request.experiment_number, name=request.name, status="pending",
        created_at=scope.now, updated_at=scope.now, created_by=principal.name if principal else scope.principal, type=request.type,
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
    names = _MLFLOW if request.dialect == "mlflow" else _NAMES
    expression = parse(request.filter, only_and=request.dialect == "mlflow")
    _check(expression, names)
    newest = next(theirs for theirs, ours in names.items() if ours == "created_at")
    orders = [parse_order(text) for text in request.order_by] or [OrderBy(entity="attribute", key=newest, descending=True)]
    for order in orders:
        _check(Compare(entity=order.entity, key=order.key, operator="present"), names)
    found = LoggedStore(scope.connection, scope.project).among(request.experiments)
    kept = [item for item in found if holds(expression, lambda entity, key, item=item: _value(item, entity, key, names))]  # type: ignore[misc]
    return sorted_page(
        kept, orders, lambda item, order: _value(item, order.entity, order.key, names), lambda item: item.id, request.after, request.limit
    )


def _check(expression: Expression, names: dict[str, str]) -> None:
    if isinstance(expression, Compare):
        if expression.entity == "attribute" and expression.key not in names:
            raise Invalid(
                f"Logged models have no attribute {expression.key!r}.", code="tracking.bad_filter",
                hint=f"They have {', '.join(sorted(names))}.",
            )  # fmt: skip
        if expression.entity == "dataset":
            raise Invalid("Logged models are not searched by datasets here.", code="tracking.bad_filter", hint="Filter by metrics or tags.")
    elif isinstance(expression, Not):
        _check(expression.part, names)
    else:
        for part in expression.parts if isinstance(expression, (All, Either)) else ():
            _check(part, names)


def _value(item: m.LoggedModel, entity: str, key: str, names: dict[str, str]) -> str | int | float | None:
    if entity == "metric":
        return next((metric.value for metric in reversed(item.metrics) if metric.key == key), None)
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
