"""Decisions of tracking: what may be written, which point is a metric's latest, how a long series is thinned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from rung.core.errors import Conflict, Invalid
from rung.tracking.records import Condition, MetricPoint, Order, ParamValue

_PER_STRETCH = 4  # first, smallest, greatest, last
_KEYED = {"param", "metric", "tag"}
_INSTANTS = {"started_at", "ended_at"}


def new_params(held: dict[str, ParamValue], given: dict[str, ParamValue]) -> dict[str, ParamValue]:
    """The given params that are not there yet. Raises Conflict for one that is, with another value."""
    for key, value in given.items():
        if key in held and (held[key] != value or isinstance(held[key], bool) is not isinstance(value, bool)):
            raise Conflict(
                f"Param {key!r} is {held[key]!r} and cannot become {value!r}.",
                code="tracking.param_written",
                hint="Params are written once; log what changes as a tag or a metric.",
            )
    return {key: value for key, value in given.items() if key not in held}


def latest(points: Iterable[MetricPoint], now: datetime) -> dict[str, MetricPoint]:
    """The latest point of each key: greatest step, then instant, then value, NaN below every number."""
    found: dict[str, MetricPoint] = {}
    for point in points:
        held = found.get(point.key)
        if held is None or _rank(point, now) > _rank(held, now):
            found[point.key] = point
    return found


def thinned(points: Sequence[MetricPoint], limit: int) -> list[MetricPoint]:
    """At most about ``limit`` points: equal stretches, of each the first, smallest, greatest and last point in order."""
    if len(points) <= limit:
        return list(points)
    stretches = max(limit // _PER_STRETCH, 1)
    kept: list[MetricPoint] = []
    for number in range(stretches):
        start, end = number * len(points) // stretches, (number + 1) * len(points) // stretches
        numbers = [i for i in range(start, end) if not math.isnan(points[i].value)] or [start]
        extremes = {min(numbers, key=lambda i: points[i].value), max(numbers, key=lambda i: points[i].value)}
        kept += [points[i] for i in sorted({start, end - 1} | extremes)]
    return kept


def check_condition(condition: Condition) -> None:
    """Raise Invalid unless field, key, operator and value of a condition go together."""
    if (condition.field in _KEYED) != bool(condition.key):
        need = "needs a key" if condition.field in _KEYED else "takes no key"
        raise Invalid(
            f"A condition on {condition.field} {need}.", code="tracking.bad_condition", hint="Write for example metric auc > 0.7."
        )
    if condition.operator in {"missing", "present"}:
        return
    if condition.value is None:
        raise Invalid(f"The condition on {condition.field} {condition.key} has no value.", code="tracking.bad_condition", hint="Give one.")
    numeric = isinstance(condition.value, (int, float))
    if condition.field == "metric" and not numeric:
        raise Invalid(
            f"Metric {condition.key!r} is compared with {condition.value!r}.", code="tracking.bad_condition", hint="Compare with a number."
        )
    if condition.operator == "like" and (numeric or condition.field in _INSTANTS | {"metric"}):
        raise Invalid(f"{condition.field} cannot be compared by 'like'.", code="tracking.bad_condition", hint="Use = or <.")
    if condition.field in _INSTANTS:
        instant(condition.value)


def check_order(order: Order) -> None:
    """Raise Invalid unless an order by param or metric names one, and no other does."""
    if (order.by in _KEYED) != bool(order.key):
        raise Invalid(f"Order by {order.by!r} with key {order.key!r}.", code="tracking.bad_order", hint="Only param and metric take a key.")


def instant(value: object) -> datetime:
    """The aware instant an ISO 8601 text names. Raises Invalid."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Invalid(f"{value!r} is not an instant.", code="tracking.bad_instant", hint="Write it as 2013-03-01T00:00:00Z.")
    return found


def number_of(value: ParamValue) -> float | None:
    """A param's place among numbers, if it has one."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def param_text(value: ParamValue) -> str:
    """A param as it is compared in conditions: strings as they are, all else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _rank(point: MetricPoint, now: datetime) -> tuple[int, datetime, float]:
    return point.step, point.at or now, -math.inf if math.isnan(point.value) else point.value
