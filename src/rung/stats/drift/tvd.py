"""Total variation distance and the largest difference of one share."""

from __future__ import annotations

import numpy as np

from rung.stats.samples import CategoryPair, drift_test
from rung.stats.significance import chi2_p


@drift_test("tvd", "category", significance=chi2_p)
def tvd(pair: CategoryPair) -> float:
    """Half the sum of absolute share differences, in [0, 1]."""
    reference, current = pair.shares
    return float(np.sum(np.abs(reference - current)) / 2)


@drift_test("linf", "category", significance=chi2_p)
def linf(pair: CategoryPair) -> float:
    """Largest absolute difference of one value's share, in [0, 1]."""
    reference, current = pair.shares
    return float(np.max(np.abs(reference - current)))
