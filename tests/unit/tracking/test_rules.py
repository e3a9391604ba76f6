"""Decisions of tracking."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.errors import Conflict, Invalid
from rung.core.filters import Compare, OrderBy
from rung.tracking.chunks import Points, cut, decoded, encoded, ordered, thinned
from rung.tracking.rules import checked_path, new_params, ordered_by, wanted


def test_a_param_may_be_written_again_with_its_value_but_not_with_another() -> None:
    assert new_params({"depth": 3}, {"depth": 3, "rate": 0.1}) == {"rate": 0.1}
    with pytest.raises(Conflict, match="'depth' is 3 and cannot become 4"):
        new_params({"depth": 3}, {"depth": 4})


def test_true_is_not_the_param_one() -> None:
    with pytest.raises(Conflict):
        new_params({"flag": 1}, {"flag": True})


def columns(values: list[float]) -> Points:
    n = len(values)
    return Points(np.arange(n, dtype=np.int64), np.arange(n, dtype=np.int64) * 10, np.array(values, dtype=np.float64))


@given(st.lists(st.floats(), min_size=1, max_size=300), st.integers(4, 50))
def test_thinning_keeps_ends_and_extremes(values: list[float], limit: int) -> None:
    kept = thinned(columns(values), limit)
    assert len(kept) <= max(limit, 4)
    assert kept.steps[0] == 0
    assert kept.steps[-1] == len(values) - 1
    numbers = [value for value in values if not math.isnan(value)]
    if numbers:
        held = [value for value in kept.values.tolist() if not math.isnan(value)]
        assert (min(held), max(held)) == (min(numbers), max(numbers))


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**53), 2**53), st.floats()), max_size=400))
def test_a_chunk_comes_back_bit_for_bit(points: list[tuple[int, int, float]]) -> None:
    given_ = Points.of_rows([(step, at, 0.0 if math.isnan(value) else value, math.isnan(value)) for step, at, value in points])
    back = decoded(encoded(given_)[0])
    assert back.steps.tolist() == given_.steps.tolist()
    assert back.ats.tolist() == given_.ats.tolist()
    assert back.values.tobytes() == given_.values.tobytes()


def test_ordering_drops_what_is_double_and_keeps_one_nan() -> None:
    points = Points(np.array([1, 1, 0, 1, 1]), np.array([5, 5, 9, 5, 5]), np.array([2.0, math.nan, 1.0, 2.0, math.nan]))
    found = ordered(points)
    assert (found.steps.tolist(), [str(value) for value in found.values.tolist()]) == ([0, 1, 1], ["1.0", "2.0", "nan"])


def test_points_of_one_step_and_instant_stay_in_one_chunk() -> None:
    points = Points(np.array([0, 1, 1, 1, 2, 3]), np.array([0, 1, 1, 1, 2, 3]), np.arange(6.0))
    assert [part.steps.tolist() for part in cut(points, 2)] == [[0, 1, 1, 1], [2, 3]]


@pytest.mark.parametrize("path", ["../x", "a//b", "", ".", "a/../b", "x" * 1001])
def test_paths_that_climb_or_are_too_long_are_refused(path: str) -> None:
    with pytest.raises(Invalid):
        checked_path(path)


def test_mlflow_names_become_ours() -> None:
    (one, two) = wanted("attributes.start_time > 5 AND status = 'FINISHED'", "mlflow").parts
    assert one == Compare(entity="attribute", key="started_at", operator=">", value=5000)
    assert two == Compare(entity="attribute", key="status", operator="=", value="succeeded")
    (parent,) = wanted("tags.mlflow.parentRunId = 'a'", "mlflow").parts
    assert parent == Compare(entity="attribute", key="parent", operator="=", value="a")
    for text in ("params.depth = 3", "metrics.a IS NULL", "attributes.nothing = 'x'", "status = 'a' OR status = 'b'"):
        with pytest.raises(Invalid):
            wanted(text, "mlflow")


def test_newest_first_decides_where_nothing_else_does() -> None:
    newest = OrderBy(entity="attribute", key="started_at", descending=True)
    assert ordered_by([], "rung") == [newest]
    assert ordered_by(["metrics.a"], "rung") == [OrderBy(entity="metric", key="a"), newest]
    assert ordered_by(["start_time ASC"], "mlflow") == [OrderBy(entity="attribute", key="started_at")]
