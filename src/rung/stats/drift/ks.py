"""Kolmogorov-Smirnov distance."""

from __future__ import annotations

import numpy as np

from rung.stats.samples import NumericPair, drift_test


def ks_p(pair: NumericPair) -> float:
    """Two-sided p of the distance: ``kstwo.sf(D, round(nm / (n + m)))``, scipy's asymptotic method at every size."""
    from scipy.stats import kstwo  # noqa: PLC0415 - half a second of import that only a monitor's run should pay

    return float(np.clip(kstwo.sf(ks(pair), max(1, round(pair.effective_rows))), 0.0, 1.0))


@drift_test("ks", "numeric", significance=ks_p)
def ks(pair: NumericPair) -> float:
    """Largest difference between the two distribution functions, in [0, 1]."""
    return float(np.max(np.abs(pair.gaps)))
