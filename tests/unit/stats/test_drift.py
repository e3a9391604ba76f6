"""Golden values: scipy, and the formulas written out, on samples without random numbers."""

from __future__ import annotations

import numpy as np
import pytest

from rung.stats.samples import DRIFT_TESTS, CategoryPair, NumericPair
from rung.stats.significance import benjamini_hochberg, smallest_ks, smallest_tvd, two_proportions_p

PLACE = (7919 * np.arange(1000)) % 1000 / 100
NUMBERS = NumericPair(PLACE, 0.9 * PLACE[:800] + 1.5)
CATEGORIES = CategoryPair({"A": 500, "B": 300, "C": 200}, {"A": 380, "B": 320, "C": 90, "D": 10})
FLAGS = CategoryPair({"no": 700, "yes": 300}, {"no": 320, "yes": 180})


@pytest.mark.parametrize(
    ("name", "pair", "value"),
    [
        ("ks", NUMBERS, 0.15),
        ("w1", NUMBERS, 0.99825),
        ("w1_norm", NUMBERS, 0.345804116633),
        ("psi", NUMBERS, 0.758030664969),
        ("js", NUMBERS, 0.249243241925),
        ("chi2", CATEGORIES, 47.0920972798),
        ("cramers_v", CATEGORIES, 0.161747569585),
        ("tvd", CATEGORIES, 0.1125),
        ("linf", CATEGORIES, 0.1),
        ("js_category", CATEGORIES, 0.143551839195),
        ("psi_category", CATEGORIES, 0.140265992626),
        ("chi2", FLAGS, 5.51470588235),
    ],
)
def test_a_distance_has_its_golden_value(name: str, pair: NumericPair | CategoryPair, value: float) -> None:
    assert DRIFT_TESTS.get(name).score(pair) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "pair", "p"), [("ks", NUMBERS, 3.4720303957e-09), ("chi2", CATEGORIES, 3.32230920521e-10), ("chi2", FLAGS, 0.0188572437685)]
)
def test_a_p_value_is_that_of_scipy(name: str, pair: NumericPair | CategoryPair, p: float) -> None:
    assert DRIFT_TESTS.get(name).p(pair) == pytest.approx(p, rel=1e-9)


def test_distances_equal_scipy_on_random_samples() -> None:
    from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

    generator = np.random.default_rng(1)
    a, b = generator.normal(size=500), generator.normal(0.2, 1.3, size=333)
    pair = NumericPair(a, b)
    assert DRIFT_TESTS.get("ks").score(pair) == pytest.approx(ks_2samp(a, b).statistic, rel=1e-12)
    assert DRIFT_TESTS.get("ks").p(pair) == pytest.approx(ks_2samp(a, b, method="asymp").pvalue, rel=1e-9)
    assert DRIFT_TESTS.get("w1").score(pair) == pytest.approx(wasserstein_distance(a, b), rel=1e-9)
    table = generator.integers(5, 50, size=(2, 7))
    counts = CategoryPair(dict(enumerate(table[0].tolist())), dict(enumerate(table[1].tolist())))
    expected = chi2_contingency(table, correction=False)
    assert DRIFT_TESTS.get("chi2").score(counts) == pytest.approx(expected.statistic, rel=1e-9)
    assert DRIFT_TESTS.get("chi2").p(counts) == pytest.approx(expected.pvalue, rel=1e-9)


def test_adjusted_p_values_agree_with_scipy() -> None:
    from scipy.stats import false_discovery_control

    p = np.array([0.001, 0.2, 0.03, 0.04, 0.9])
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p))


def test_one_row_of_a_million_does_not_move_ks() -> None:
    generator = np.random.default_rng(2)
    reference, current = generator.normal(size=5000), generator.normal(0.5, 1, size=5000)
    plain = DRIFT_TESTS.get("ks").score(NumericPair(reference, current))
    spiked = DRIFT_TESTS.get("ks").score(NumericPair(reference, np.append(current, 1e6)))
    assert abs(plain - spiked) < 0.001


def test_about_370_rows_show_a_distance_of_a_tenth_among_30_columns() -> None:
    large = np.arange(1_000_000.0)
    assert smallest_ks(NumericPair(large, np.arange(370.0)), 30) == pytest.approx(0.1, abs=0.005)
    assert smallest_ks(NumericPair(large, np.arange(100.0)), 30) > 0.15


def test_no_rows_show_nothing() -> None:
    assert smallest_ks(NumericPair(np.empty(0), np.arange(5.0)), 1) == 1
    assert smallest_tvd(CategoryPair({}, {"a": 1}), 1) == 1


def test_a_larger_share_has_a_small_p() -> None:
    assert two_proportions_p(120, 1000, 50, 1000) < 1e-6
    assert two_proportions_p(50, 1000, 50, 1000) == pytest.approx(0.5)
    assert two_proportions_p(0, 0, 5, 10) == 1


@pytest.mark.parametrize("rows", [100, 1000])
def test_clean_columns_seldom_alarm(rows: int) -> None:
    generator = np.random.default_rng(rows)
    runs = 60
    alarms = 0
    for _ in range(runs):
        pairs = [NumericPair(generator.normal(size=2000), generator.normal(size=rows)) for _ in range(30)]
        p = benjamini_hochberg(np.array([DRIFT_TESTS.get("ks").p(pair) for pair in pairs]))
        effects = np.array([DRIFT_TESTS.get("ks").score(pair) for pair in pairs])
        alarms += bool(np.any((p < 0.05) & (effects >= 0.1)))
    assert alarms / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
