"""Decisions of tracking."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import Conflict, Invalid
from rung.tracking.records import Condition, MetricPoint, Order
from rung.tracking.rules import check_condition, check_order, latest, new_params, thinned

NOW = datetime(2013, 1, 1, tzinfo=UTC)


def point(step: int, value: float, key: str = "loss") -> MetricPoint:
    return MetricPoint(key=key, value=value, step=step)


def test_a_param_may_be_written_again_with_its_value_but_not_with_another() -> None:
    assert new_params({"depth": 3}, {"depth": 3, "rate": 0.1}) == {"rate": 0.1}
    with pytest.raises(Conflict, match="'depth' is 3 and cannot become 4"):
        new_params({"depth": 3}, {"depth": 4})


def test_true_is_not_the_param_one() -> None:
    with pytest.raises(Conflict):
        new_params({"flag": 1}, {"flag": True})


def test_the_latest_point_has_the_greatest_step_and_nan_loses_to_a_number() -> None:
    assert latest([point(2, 0.2), point(1, 0.9)], NOW)["loss"].value == 0.2
    assert latest([point(1, math.nan), point(1, 0.1)], NOW)["loss"].value == 0.1


@given(st.lists(st.floats(), min_size=1, max_size=300), st.integers(4, 50))
def test_thinning_keeps_ends_and_extremes(values: list[float], limit: int) -> None:
    points = [point(step, value) for step, value in enumerate(values)]
    kept = thinned(points, limit)
    assert len(kept) <= max(limit, 4)
    assert kept[0] is points[0]
    assert kept[-1] is points[-1]
    numbers = [value for value in values if not math.isnan(value)]
    if numbers:
        held = [item.value for item in kept if not math.isnan(item.value)]
        assert (min(held), max(held)) == (min(numbers), max(numbers))


@pytest.mark.parametrize(
    "condition",
    [
        Condition(field="metric", value=1.0),
        Condition(field="status", key="x", value="failed"),
        Condition(field="metric", key="auc", value="high"),
        Condition(field="param", key="depth"),
        Condition(field="started_at", operator=">", value="yesterday"),
        Condition(field="metric", key="auc", operator="like", value=1.0),
    ],
)
def test_a_condition_that_makes_no_sense_is_invalid(condition: Condition) -> None:
    with pytest.raises(Invalid):
        check_condition(condition)


def test_only_orders_by_param_or_metric_take_a_key() -> None:
    check_order(Order(by="metric", key="auc"))
    with pytest.raises(Invalid):
        check_order(Order(by="name", key="auc"))
