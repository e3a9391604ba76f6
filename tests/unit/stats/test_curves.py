"""Mean and spread of several curves."""

from __future__ import annotations

from math import inf, nan, sqrt

import pytest

from rung.stats.curves import Curve, band


def test_mean_and_deviation_agree_with_the_hand() -> None:
    # at step 0: 0 and 4, mean 2, deviation sqrt(8); at step 1: 2 and 2
    found = band([Curve([0, 1], [0.0, 2.0]), Curve([0, 1], [4.0, 2.0])])
    assert found.x == [0, 1]
    assert found.mean == [2, 2]
    assert found.low == pytest.approx([2 - sqrt(8), 2])
    assert found.high == pytest.approx([2 + sqrt(8), 2])


def test_a_curve_counts_only_between_its_own_ends() -> None:
    found = band([Curve([0, 10], [0.0, 10.0]), Curve([5, 6], [100.0, 100.0])])
    assert found.x == [0, 5, 6, 10]
    assert found.mean == [0, 52.5, 53, 10]
    assert (found.low[0], found.high[3]) == (0, 10)


def test_what_is_not_finite_is_left_out() -> None:
    assert band([Curve([0, 1, 2], [1.0, nan, 3.0]), Curve([0, 2], [inf, 3.0])]).mean == [1, 3]
    assert band([Curve([0], [nan])]).x == []
    assert band([]).mean == []


def test_long_curves_are_read_on_as_many_places_as_asked_for() -> None:
    found = band([Curve(range(1000), [float(n) for n in range(1000)])], most=11)
    assert len(found.x) == 11
    assert found.mean == pytest.approx(found.x)
