"""Decisions of tracking: what may be written, which names a filter may use, what a path may look like."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from rung.core.clock import to_micros
from rung.core.errors import Conflict, Invalid
from rung.core.filters import All, Compare, Either, Expression, Not, OrderBy, parse, parse_order
from rung.tracking.records import Dialect, MetricColumns, ParamValue

_ATTRIBUTES = {
    "id", "name", "status", "started_at", "ended_at", "created_by", "git_commit", "pipeline_run", "step", "number", "parent", "experiment",
}  # fmt: skip
_MLFLOW = {
    "run_id": "id", "run_name": "name", "run name": "name", "Run name": "name", "Run Name": "name", "status": "status",
    "start_time": "started_at", "created": "started_at", "Created": "started_at", "end_time": "ended_at", "user_id": "created_by",
}  # fmt: skip
_MLFLOW_STATUS = {"RUNNING": "running", "SCHEDULED": "scheduled", "FINISHED": "succeeded", "FAILED": "failed", "KILLED": "cancelled"}
_MLFLOW_TAGS = {"mlflow.runName": "name", "mlflow.parentRunId": "parent"}
_INSTANTS = {"started_at", "ended_at"}
_SORTABLE = _ATTRIBUTES - {"experiment"}
_DATASET = {"name", "digest", "context"}
_COMPARE = {"=", "!=", "<", "<=", ">", ">="}
_TEXT = {"=", "!=", "like", "ilike", "in", "not_in"}
_PRESENCE = {"missing", "present"}
_MOST_PATH_BYTES = 1000


def new_params(held: dict[str, ParamValue], given: dict[str, ParamValue]) -> dict[str, ParamValue]:
    """The given params that are not there yet. Raises Conflict for one that is, with another value."""
    for key, value in given.items():
        if key in held and (held[key] != value or isinstance(held[key], bool) is not isinstance(value, bool)):
            raise Conflict(
                f"Param {key!r} is {_shown(held[key])} and cannot become {_shown(value)}.",
                code="tracking.param_written",
                hint="Params are written once; log what changes as a tag or a metric.",
            )
    return {key: value for key, value in given.items() if key not in held}


def points_of(columns: MetricColumns) -> list[tuple[str, int, int, float]]:
    """Points (key, step, µs, value) of columns. Raises Invalid when they are not of one length, or name a key that is not there."""
    lengths = {name: len(getattr(columns, name)) for name in ("key", "step", "at", "value")}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise Invalid(f"The columns are not of one length: {told}.", code="tracking.bad_columns", hint="Send one value a point in each.")
    known = len(columns.keys)
    for place, key in enumerate(columns.key):
        if key >= known:
            raise Invalid(
                f"columns.key[{place}] is {key}, and there are {known} keys.", code="tracking.bad_columns", hint="Count keys from 0."
            )
    keys = [columns.keys[place] for place in columns.key]
    return list(zip(keys, columns.step, columns.at, columns.value, strict=True))


def wanted(text: str, dialect: Dialect) -> All:
    """The expression of a filter over runs, with our names for attributes and instants in µs. Raises Invalid."""
    expression = parse(text, only_and=dialect == "mlflow")
    return All(parts=tuple(_canonical(part, dialect) for part in expression.parts))


def ordered_by(texts: Sequence[str], dialect: Dialect) -> list[OrderBy]:
    """What a list of runs is sorted by; newest first where nothing else decides. Raises Invalid."""
    found = [_order(parse_order(text), dialect) for text in texts]
    if not any(order.entity == "attribute" and order.key == "started_at" for order in found):
        found.append(OrderBy(entity="attribute", key="started_at", descending=True))
    return found


def checked_path(path: str) -> str:
    """A path inside an owner's artifacts. Raises Invalid for one that climbs, is absolute, or is too long to be kept."""
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise Invalid(f"{path!r} is not a path inside a run.", code="tracking.bad_path", hint="Use names joined by single slashes.")
    if len(path.encode()) > _MOST_PATH_BYTES:
        raise Invalid(
            f"Artifact path {path[:60]!r}… has {len(path.encode())} bytes.", code="tracking.bad_path", hint=f"Use at most {_MOST_PATH_BYTES}."
        )  # fmt: skip
    return path


def instant(value: object) -> datetime:
    """The aware instant an ISO 8601 text names. Raises Invalid."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Invalid(f"{value!r} is not an instant.", code="tracking.bad_instant", hint="Write it as 2013-03-01T00:00:00Z.")
    return found


def number_of(value: Any) -> float | None:
    """A param's place among numbers, if it has one."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def param_text(value: ParamValue) -> str:
    """A param as it is compared in conditions: strings as they are, all else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _canonical(part: Expression, dialect: Dialect) -> Expression:
    if isinstance(part, All):
        return All(parts=tuple(_canonical(item, dialect) for item in part.parts))
    if isinstance(part, Either):
        return Either(parts=tuple(_canonical(item, dialect) for item in part.parts))
    if isinstance(part, Not):
        return Not(part=_canonical(part.part, dialect))
    if part.entity == "metric":
        _allow(part, _COMPARE if dialect == "mlflow" else _COMPARE | _PRESENCE)
        if part.operator in _COMPARE and isinstance(part.value, str):
            raise _bad(f"Metric {part.key!r} is compared with {part.value!r}, not with a number.")
        return part
    if part.entity == "tag" and dialect == "mlflow" and part.key in _MLFLOW_TAGS:
        part = Compare(entity="attribute", key=_MLFLOW_TAGS[part.key], operator=part.operator, value=part.value)
        return _attribute(part, "rung")
    if part.entity in {"param", "tag"}:
        numeric = part.entity == "param" and dialect == "rung"
        _allow(part, _TEXT | _PRESENCE | (_COMPARE if numeric else set()))
        if not numeric:
            _only_texts(part)
        return part
    if part.entity == "dataset":
        if part.key not in _DATASET:
            raise _bad(f"Datasets have no {part.key!r}; they have {', '.join(sorted(_DATASET))}.")
        _allow(part, _TEXT)
        _only_texts(part)
        return part
    return _attribute(part, dialect)


def _attribute(part: Compare, dialect: Dialect) -> Compare:
    key = _name(part.key, dialect)
    if key in _INSTANTS:
        _allow(part, _COMPARE | (_PRESENCE if dialect == "rung" else set()))
        value = part.value
        if part.operator in _COMPARE:
            value = to_micros(instant(part.value)) if dialect == "rung" else _micros(part)
        return Compare(entity="attribute", key=key, operator=part.operator, value=value)
    if key == "number":
        _allow(part, _COMPARE | {"in", "not_in"})
        values = part.value if isinstance(part.value, tuple) else (part.value,)
        if not all(isinstance(value, int) for value in values):
            raise _bad(f"Run number is compared with {part.value!r}.")
        return part
    _allow(part, _TEXT | _PRESENCE)
    if part.operator not in _PRESENCE:
        _only_texts(part)
    value = part.value
    if key == "status" and dialect == "mlflow":
        known = tuple(_MLFLOW_STATUS.get(str(item).upper(), str(item)) for item in (value if isinstance(value, tuple) else (value,)))
        value = known if isinstance(value, tuple) else known[0]
    return Compare(entity="attribute", key=key, operator=part.operator, value=value)


def _order(order: OrderBy, dialect: Dialect) -> OrderBy:
    if order.entity == "dataset":
        raise _bad("Runs cannot be sorted by datasets.")
    if order.entity == "tag" and dialect == "mlflow" and order.key in _MLFLOW_TAGS:
        return OrderBy(entity="attribute", key=_MLFLOW_TAGS[order.key], descending=order.descending)
    if order.entity != "attribute":
        return order
    key = _name(order.key, dialect)
    if key not in _SORTABLE:
        raise _bad(f"Runs cannot be sorted by {key!r}.")
    return OrderBy(entity="attribute", key=key, descending=order.descending)


def _name(key: str, dialect: Dialect) -> str:
    known = _MLFLOW if dialect == "mlflow" else {name: name for name in _ATTRIBUTES}
    if key not in known:
        raise _bad(f"Runs have no attribute {key!r}; they have {', '.join(sorted(known))}.")
    return known[key]


def _allow(part: Compare, operators: set[str]) -> None:
    if part.operator not in operators:
        raise _bad(f"{part.entity} {part.key!r} cannot be compared by {part.operator.upper().replace('_', ' ')}.")


def _only_texts(part: Compare) -> None:
    values = part.value if isinstance(part.value, tuple) else (part.value,)
    if part.operator not in _PRESENCE and not all(isinstance(value, str) for value in values):
        raise _bad(f"{part.entity} {part.key!r} is compared with {part.value!r}; put texts in quotes.")


def _micros(part: Compare) -> int:
    if not isinstance(part.value, (int, float)) or abs(part.value) > 10**15:
        raise _bad(f"{part.key} is compared with {part.value!r}, not with milliseconds since 1970.")
    return int(part.value * 1000)


def _bad(message: str) -> Invalid:
    return Invalid(message[:1000], code="tracking.bad_filter", hint="Write for example metrics.auc > 0.7 AND params.model = 'tree'.")


def _shown(value: ParamValue) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "…"  # noqa: PLR2004 - as much as a message can bear
