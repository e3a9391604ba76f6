"""Money from outcomes; expected numbers by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from rung.value import rules
from rung.value.records import ValueMatrix

MATRIX = ValueMatrix(
    id="0" * 32, model="m", number=1, currency="USD", tp=12, fp=-4, created_at=datetime(2026, 1, 1, tzinfo=UTC), created_by="ann"
)
SCORE, LABEL = np.array([0.9, 0.8, 0.3, 0.1]), np.array([1.0, 0.0, 1.0, 0.0])


def test_each_row_is_worth_its_outcome() -> None:
    assert rules.row_values(MATRIX, SCORE, LABEL, 0.5).tolist() == [12, -4, 0, 0]
    assert rules.outcome_counts(SCORE, LABEL, 0.5) == {"tp": 1, "fp": 1, "fn": 1, "tn": 1}


def test_acting_pays_from_a_quarter_on_with_12_and_minus_4() -> None:
    assert rules.theoretical_threshold(MATRIX) == 0.25


def test_the_best_threshold_catches_the_third_row_too() -> None:
    # acting on the first three: 12 - 4 + 12 = 20; on two: 8
    advice = rules.threshold_advice(MATRIX, SCORE, LABEL, 0.5)
    assert (advice.current_value, advice.best_value, advice.lost) == (8, 20, 12)
    assert 0.1 < advice.best <= 0.3


def test_errors_of_a_value_cost_by_unit_beyond_what_is_free() -> None:
    matrix = ValueMatrix(
        id="0" * 32, model="m", number=1, currency="USD", over=-2, under=-5, free=1, created_at=MATRIX.created_at, created_by="ann"
    )
    assert rules.row_values(matrix, np.array([4.0, 1.0, 2.5]), np.array([1.0, 4.0, 2.0]), None).tolist() == [-4, -10, 0]


def test_the_interval_holds_the_sum_and_is_wider_when_days_move_together() -> None:
    values = np.repeat([10.0, -10.0, 10.0, 20.0], 25)
    days = np.repeat(np.arange(4), 25)
    by_day, by_row = rules.block_total(values, days), rules.block_total(values, np.arange(100))
    assert by_day.estimate == by_row.estimate == 750
    assert by_day.high - by_day.low > by_row.high - by_row.low
    assert by_day.low <= 750 <= by_day.high


def test_break_even_is_fixed_cost_over_what_a_prediction_earns() -> None:
    # cost 110 of which 10 grow with 100 rows that earn 60: (110 - 10) / ((60 - 10) / 100) = 200
    assert rules.break_even(110, 10, 60, 100) == pytest.approx(200)
    assert rules.break_even(110, 10, 5, 100) is None


def test_payback_is_the_first_day_that_covers_the_cost() -> None:
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    assert rules.payback(days, [5, 5, 5], 10) == days[1]
    assert rules.payback(days, [1, 1, 1], 10) is None


def test_the_mean_of_a_decision_is_as_sure_as_its_entities_are_many() -> None:
    values = np.array([1.0, 3.0, 5.0, 7.0])
    # each its own entity: 4, and the variance of the mean (9 + 1 + 1 + 9) / 3 / 4
    assert rules.mean_of(values, np.arange(4)) == rules.Mean(value=4.0, variance=pytest.approx(20 / 12), rows=4, entities=4)  # type: ignore[arg-type]
    # two entities of two decisions: their residuals add up to -4 and 4, so 2 / 1 * (16 + 16) / 16
    assert rules.mean_of(values, np.array([7, 7, 9, 9])) == rules.Mean(value=4.0, variance=4.0, rows=4, entities=2)


def test_a_difference_of_means_has_both_their_spreads() -> None:
    treated, held = rules.mean_of(np.array([1.0, 3.0, 5.0, 7.0]), np.arange(4)), rules.mean_of(np.array([0.0, 2.0]), np.arange(2))
    # 4 - 1, give or take 1.96 * sqrt(20/12 + 1) = 3.2006
    found = rules.mean_difference(treated, held)
    assert (found.estimate, found.low, found.high) == (3.0, pytest.approx(-0.2006, abs=1e-4), pytest.approx(6.2006, abs=1e-4))
