"""Handlers that search models and versions by the one filter language."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TypeVar

from rung.core.errors import Invalid
from rung.core.filters import All, Compare, OrderBy, comparisons, holds, parse, parse_order
from rung.core.records import Page
from rung.core.requests import handles
from rung.registry import logged as lg
from rung.registry import records as r
from rung.registry.moving import store_of
from rung.registry.registering import PROMPT
from rung.registry.store.models import Sketch
from rung.storage.scope import Scope
from rung.tracking.paging import sorted_page

T = TypeVar("T", r.Model, r.ModelVersion, Sketch)
Value = str | int | float | None
_MODEL = {name: name for name in ("name", "task", "gated", "created_at", "updated_at", "created_by", "description", "newest")}
_MODEL_MLFLOW = {
    "name": "name", "creation_timestamp": "created_at", "last_updated_timestamp": "updated_at", "timestamp": "updated_at",
}  # fmt: skip
_VERSION = {
    name: name
    for name in (
        "model", "number", "stage", "status", "format", "task", "label", "source", "created_at", "updated_at", "created_by", "description",
        "digest", "unservable", "run_id", "logged_model",
    )
} | {"name": "model", "run": "run_id"}  # fmt: skip
_VERSION_MLFLOW = {
    "name": "model", "run_id": "run_id", "source_path": "source", "version_number": "number", "version": "number",
    "creation_timestamp": "created_at", "last_updated_timestamp": "updated_at",
}  # fmt: skip


@handles(lg.SearchModels)
def search_models(request: lg.SearchModels, scope: Scope) -> Page[r.Model]:
    """A page of models. Raises Invalid for a filter or an order that makes no sense."""
    names = _MODEL_MLFLOW if request.dialect == "mlflow" else _MODEL
    expression, orders = _asked(request, names, (OrderBy(entity="attribute", key="name"),))
    items = store_of(scope).models()
    if request.dialect == "mlflow" and all(part.key != PROMPT for part in comparisons(expression)):
        items = tuple(item for item in items if item.tags.get(PROMPT, "").lower() != "true")
    return _page(items, expression, orders, names, lambda item: item.name, request)


@handles(lg.SearchVersions)
def search_versions(request: lg.SearchVersions, scope: Scope) -> Page[r.ModelVersion]:
    """A page of versions. Raises Invalid for a filter or an order that makes no sense."""
    names = _VERSION_MLFLOW if request.dialect == "mlflow" else _VERSION
    newest = "last_updated_timestamp" if request.dialect == "mlflow" else "updated_at"
    expression, orders = _asked(request, names, (OrderBy(entity="attribute", key=newest, descending=True),))
    store, models, runs = store_of(scope), _wanted(expression, names, "model"), _wanted(expression, names, "run_id")
    claims = [(claim.entity, claim.key) for claim in comparisons(expression)] + [(order.entity, order.key) for order in orders]
    asked = {names[key] for entity, key in claims if entity == "attribute"}
    if asked <= set(Sketch._fields):
        page = _page(store.sketches(models=models, runs=runs), expression, orders, names, lambda item: item.id, request)
        return Page(items=tuple(store.versions_by_id([item.id for item in page.items])), next=page.next)
    return _page(store.among(models=models, runs=runs), expression, orders, names, lambda item: item.id, request)


def _asked(
    request: lg.SearchModels | lg.SearchVersions, names: dict[str, str], default: Sequence[OrderBy]
) -> tuple[All, Sequence[OrderBy]]:
    expression = parse(request.filter, only_and=request.dialect == "mlflow")
    orders = [parse_order(text) for text in request.order_by] or list(default)
    for claim in (*comparisons(expression), *(Compare(entity=o.entity, key=o.key, operator="present") for o in orders)):
        if claim.entity not in {"attribute", "tag"} or (claim.entity == "attribute" and claim.key not in names):
            raise Invalid(
                f"The registry is not searched by {claim.key!r}.",
                code="registry.bad_filter",
                hint=f"Use tags, or {', '.join(sorted(names))}.",
            )
    return expression, orders


def _wanted(expression: All, names: dict[str, str], field: str) -> list[str] | None:
    """The values a field must have for the filter to hold, None when any may do: what the database can narrow down."""
    for part in expression.parts:
        if isinstance(part, Compare) and part.entity == "attribute" and names[part.key] == field:
            if part.operator == "=" and isinstance(part.value, str):
                return [part.value]
            if part.operator == "in" and isinstance(part.value, tuple):
                return [value for value in part.value if isinstance(value, str)][:1000]
    return None


def _page(
    items: Sequence[T], expression: All, orders: Sequence[OrderBy], names: dict[str, str], identity: Callable[[T], str],
    request: lg.SearchModels | lg.SearchVersions,
) -> Page[T]:  # fmt: skip
    kept = [item for item in items if holds(expression, partial(_value, item, names))]
    return sorted_page(
        kept, orders, lambda item, order: _value(item, names, order.entity, order.key), identity, request.after, request.limit
    )


def _value(item: r.Model | r.ModelVersion | Sketch, names: dict[str, str], entity: str, key: str) -> Value:
    if entity == "tag":
        return item.tags.get(key, "false" if key == PROMPT else None)  # its client asks for those that are not prompts
    held = getattr(item, names[key])
    if isinstance(held, datetime):
        return int(held.timestamp() * 1000) if key.endswith("timestamp") else held.isoformat()
    if isinstance(held, bool):
        return str(held).lower()
    value: Value = held
    return value
