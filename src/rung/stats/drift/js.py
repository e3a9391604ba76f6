"""Jensen-Shannon distance."""

from __future__ import annotations

from rung.stats.samples import CategoryPair, NumericPair, drift_test, jensen_shannon


@drift_test("js", "numeric")
def js(pair: NumericPair) -> float:
    """Distance over the reference's deciles and open tails, base 2, in [0, 1]."""
    return jensen_shannon(*pair.decile_shares)


@drift_test("js_category", "category")
def js_category(pair: CategoryPair) -> float:
    """Distance over the union of values, base 2, in [0, 1]."""
    return jensen_shannon(*pair.shares)
