"""Every drift test answers every awkward pair of samples with a number, and means the same by 0."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rung.stats.samples import DRIFT_TESTS, CategoryPair, NumericPair

NUMERIC = {
    "alike": ([1.0, 2, 3, 4], [1.0, 2, 3, 4]),
    "constant": ([5.0, 5, 5], [5.0, 5, 5]),
    "constant moved": ([5.0, 5, 5], [6.0, 6]),
    "one row": ([1.0], [2.0]),
    "empty current": ([1.0, 2], []),
    "empty reference": ([], [1.0, 2]),
    "both empty": ([], []),
    "huge": ([1e300, 2e300], [-1e300, 1e-300]),
}
CATEGORY = {
    "alike": ({"a": 3, "b": 1}, {"a": 3, "b": 1}),
    "one value": ({"a": 3}, {"a": 9}),
    "nothing shared": ({"a": 3}, {"b": 3}),
    "empty current": ({"a": 3}, {}),
    "both empty": ({}, {}),
}
CASES = [(name, case) for name in DRIFT_TESTS.names() for case in (NUMERIC if DRIFT_TESTS.get(name).kind == "numeric" else CATEGORY)]


def _pair(name: str, case: str) -> NumericPair | CategoryPair:
    if DRIFT_TESTS.get(name).kind == "numeric":
        reference, current = NUMERIC[case]
        return NumericPair(np.array(reference), np.array(current))
    return CategoryPair(*CATEGORY[case])


@pytest.mark.parametrize(("name", "case"), CASES)
def test_a_score_is_a_finite_number_of_at_least_0(name: str, case: str) -> None:
    with np.errstate(over="ignore"):
        score = DRIFT_TESTS.get(name).score(_pair(name, case))
    assert score >= 0
    assert not math.isnan(score)
    assert math.isfinite(score) or case == "huge"


@pytest.mark.parametrize(("name", "case"), CASES)
def test_a_p_value_lies_between_0_and_1_or_is_absent(name: str, case: str) -> None:
    p = DRIFT_TESTS.get(name).p(_pair(name, case))
    assert p is None or 0 <= p <= 1


@pytest.mark.parametrize("name", DRIFT_TESTS.names())
def test_samples_that_are_alike_score_0(name: str) -> None:
    assert DRIFT_TESTS.get(name).score(_pair(name, "alike")) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", DRIFT_TESTS.names())
def test_a_side_without_rows_claims_nothing(name: str) -> None:
    test = DRIFT_TESTS.get(name)
    assert test.score(_pair(name, "empty current")) == 0
    assert test.p(_pair(name, "empty current")) in {None, 1.0}
