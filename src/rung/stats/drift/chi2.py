"""Chi-square of the two-row contingency table, and Cramér's V."""

from __future__ import annotations

import numpy as np

from rung.stats.samples import CategoryPair, drift_test
from rung.stats.significance import chi2_of, chi2_p


@drift_test("chi2", "category", significance=chi2_p)
def chi2(pair: CategoryPair) -> float:
    """Two-sample chi-square over the union of values, at least 0."""
    return chi2_of(np.vstack([pair.reference, pair.current]))


@drift_test("cramers_v", "category", significance=chi2_p)
def cramers_v(pair: CategoryPair) -> float:
    """Square root of ``chi2`` over the number of rows, in [0, 1]."""
    return float(np.sqrt(chi2(pair) / (pair.reference.sum() + pair.current.sum())))
