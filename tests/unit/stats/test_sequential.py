"""Always-valid tests: their formula by another way, and how often they err when looked at all the time."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from rung.stats.sequential import Stream, difference, stream_of


def test_the_p_value_is_one_over_the_mixture_likelihood_ratio() -> None:
    first, second = Stream(400, 0.50, 0.25), Stream(600, 0.62, 0.24)
    noise = 0.25 / 400 + 0.24 / 600
    width = (0.25 + 0.24) * (-2 * log(0.05) + log(-2 * log(0.05) + 1)) / 1000
    # integrated by another library: the likelihood of the difference over a normal mixture of effects, against none
    mixed = quad(lambda effect: norm.pdf(0.12, effect, sqrt(noise)) * norm.pdf(effect, 0, sqrt(width)), -1, 1)[0]
    found = difference(first, second, alpha=0.05, planned_rows=1000)
    assert found.p == pytest.approx(norm.pdf(0.12, 0, sqrt(noise)) / mixed, rel=1e-6)
    assert found.value == pytest.approx(0.12)


def test_the_interval_holds_what_the_test_does_not_reject() -> None:
    first, second = Stream(400, 0.0, 1.0), Stream(400, 0.3, 1.0)
    found = difference(first, second, alpha=0.05, planned_rows=1000)
    at_the_edge = difference(Stream(400, found.low, 1.0), second, alpha=0.05, planned_rows=1000)
    assert at_the_edge.p == pytest.approx(0.05, rel=1e-9)


def test_few_rows_tell_nothing_and_rows_without_spread_tell_all() -> None:
    few = difference(stream_of(29, 10, 10), stream_of(500, 400, 400), alpha=0.05, planned_rows=100)
    assert few.p == 1
    assert few.high == np.inf
    sure = difference(stream_of(50, 0, 0), stream_of(50, 50, 50), alpha=0.05, planned_rows=100)
    assert (sure.low, sure.high, sure.p) == (1, 1, 0)


def test_overwhelming_evidence_does_not_overflow() -> None:
    assert difference(Stream(10**6, 0, 1e-6), Stream(10**6, 1, 1e-6), alpha=0.05, planned_rows=10).p == pytest.approx(exp(-700))


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.5, 0.05])
@pytest.mark.parametrize("planned_rows", [200, 3000])
def test_looking_after_every_ten_rows_errs_less_than_allowed(rate: float, planned_rows: int) -> None:
    """1,000 tests of equal arms, 300 looks each; a fixed-sample z test looked at so often errs in more than a third of them."""
    chance, tests, looks, step = np.random.default_rng(7), 1000, 300, 10
    rows = np.arange(1, looks + 1) * step
    mean = chance.binomial(step, rate, size=(2, tests, looks)).cumsum(axis=2) / rows
    variance = mean * (1 - mean) * rows / (rows - 1)
    wrong = fixed = 0
    for test in range(tests):
        seen = [
            difference(
                *(Stream(int(n), mean[side, test, at], variance[side, test, at]) for side in (0, 1)), alpha=0.05, planned_rows=planned_rows
            )
            for at, n in enumerate(rows)
            if variance[:, test, at].min() > 0
        ]
        wrong += any(look.p < 0.05 for look in seen)
        error = np.sqrt(variance[:, test].sum(axis=0) / rows)[3:]
        fixed += bool((np.abs(mean[1, test] - mean[0, test])[3:] > 1.96 * np.maximum(error, 1e-12)).any())
    assert wrong / tests < 0.05
    assert fixed / tests > 0.3
