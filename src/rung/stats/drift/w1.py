"""Wasserstein-1 distance, plain and in standard deviations of the reference."""

from __future__ import annotations

import numpy as np

from rung.stats.samples import NumericPair, drift_test

_LEAST_STD = 1e-3


@drift_test("w1", "numeric")
def w1(pair: NumericPair) -> float:
    """Area between the two distribution functions, in units of the column."""
    return float(np.sum(np.abs(pair.gaps[:-1]) * np.diff(pair.merged)))


@drift_test("w1_norm", "numeric")
def w1_norm(pair: NumericPair) -> float:
    """``w1`` divided by the reference's standard deviation (ddof 0), which counts as at least 0.001."""
    return w1(pair) / max(float(np.std(pair.reference)), _LEAST_STD)
