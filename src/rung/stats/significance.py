"""Decisions under many tests: adjusted p-values, and the smallest effect that so many rows can show."""

from __future__ import annotations

import numpy as np

from rung.stats.samples import CategoryPair, Floats, NumericPair

ALPHA = 0.05
_Z_POWER = 0.8416  # a normal variable lies below it with probability 0.8
# Observed distances lie above the true one by about 0.38/sqrt(n) and vary by 0.5/sqrt(n); simulated power agrees to 4 %.
_KS_SLACK = _Z_POWER * 0.5 - 0.38


def benjamini_hochberg(p: Floats) -> Floats:
    """Adjusted p-values: reject where they are below the wanted false discovery rate.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    if p.size == 0:
        return p
    order = np.argsort(p)[::-1]
    ranks = np.arange(p.size, 0, -1)
    adjusted = np.minimum.accumulate(p[order] * p.size / ranks)
    result = np.empty_like(p)
    result[order] = np.minimum(adjusted, 1.0)
    return result


def chi2_of(table: Floats) -> float:
    """Chi-square of a contingency table without empty rows; empty columns count nothing. No Yates correction."""
    table = table[:, table.sum(axis=0) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    return float(np.sum((table - expected) ** 2 / expected))


def chi2_p(pair: CategoryPair) -> float:
    """p of the two-sample chi-square with (number of values - 1) degrees of freedom; 1 for a single value."""
    from scipy.special import chdtrc  # noqa: PLC0415 - not needed by whoever only lists the tests

    freedom = int(np.count_nonzero(pair.reference + pair.current)) - 1
    return 1.0 if freedom < 1 else float(chdtrc(freedom, chi2_of(np.vstack([pair.reference, pair.current]))))


def smallest_ks(pair: NumericPair, tests: int, alpha: float = ALPHA) -> float:
    """The Kolmogorov-Smirnov distance found with a power of 0.8 at the strictest of ``tests`` ranks; 1 without rows."""
    if pair.effective_rows <= 0:
        return 1.0
    critical = float(np.sqrt(-np.log(alpha / max(tests, 1) / 2) / 2))
    return float(min(1.0, (critical + _KS_SLACK) / np.sqrt(pair.effective_rows)))


def smallest_tvd(pair: CategoryPair, tests: int, alpha: float = ALPHA) -> float:
    """A total variation distance that chi-square surely finds with a power of 0.8; 1 without rows.

    Chi-square is at least 4 nm/(n+m) TVD^2, whatever the categories; the noncentral law is taken as normal.
    """
    from scipy.special import chdtri  # noqa: PLC0415 - see chi2_p

    if pair.effective_rows <= 0:
        return 1.0
    freedom = max(1, pair.reference.size - 1)
    critical = float(chdtri(freedom, alpha / max(tests, 1)))
    shift = critical
    for _ in range(20):
        shift = max(0.0, critical - freedom + _Z_POWER * float(np.sqrt(2 * (freedom + 2 * shift))))
    return float(min(1.0, np.sqrt(shift / 4 / pair.effective_rows)))


def two_proportions_p(hits: int, rows: int, hits_reference: int, rows_reference: int) -> float:
    """One-sided p that the current share is above the reference's (pooled normal approximation); 1 without rows."""
    from scipy.special import ndtr  # noqa: PLC0415 - see chi2_p

    if rows == 0 or rows_reference == 0:
        return 1.0
    pooled = (hits + hits_reference) / (rows + rows_reference)
    deviation = np.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / rows_reference))
    return 1.0 if deviation == 0 else float(ndtr(-(hits / rows - hits_reference / rows_reference) / deviation))
