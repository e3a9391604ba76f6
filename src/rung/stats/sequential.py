"""Tests that may be looked at any time: p-values and intervals that hold at every number of rows at once.

Mixture sequential probability ratio test: Robbins, Statistical methods related to the law of the iterated logarithm, Annals of
Mathematical Statistics 41 (1970) 1397-1409; for the difference of two streams: Johari, Koomen, Pekelis and Walsh, Always valid
inference: continuous monitoring of A/B tests, Operations Research 70 (2022) 1806-1821, section 4. The mixture's width is chosen
where Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory and asymptotic confidence sequences,
Annals of Statistics 52 (2024) 2613-2640, equation 10, find the interval narrowest for a planned number of rows.
Variances are estimated, so that the guarantee is asymptotic in the rows of each side.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, nan, sqrt

_FEWEST = 30  # rows a side before a mean of bounded or light-tailed rows is taken as normal


@dataclass(frozen=True)
class Stream:
    """Rows of one side so far: how many, their mean and the variance of a row."""

    rows: int
    mean: float
    variance: float


@dataclass(frozen=True)
class Difference:
    """Mean of the second stream less that of the first, bounded at every look at once; ``p`` is that they are equal."""

    value: float
    low: float
    high: float
    p: float


def stream_of(rows: int, total: float, squares: float) -> Stream:
    """A stream from its count, sum and sum of squares.

    >>> stream_of(2, 4.0, 10.0)
    Stream(rows=2, mean=2.0, variance=2.0)
    """
    if rows < 1:
        return Stream(0, nan, nan)
    mean = total / rows
    return Stream(rows, mean, max(squares - rows * mean * mean, 0.0) / (rows - 1) if rows > 1 else nan)


def difference(first: Stream, second: Stream, *, alpha: float, planned_rows: int) -> Difference:
    """The difference of two means with an always-valid interval and p-value.

    Args:
        first: rows of the one side. second: of the other; assigned at random, in any ratio.
        alpha: probability that the interval ever misses the true difference.
        planned_rows: rows a side at which the interval is to be narrowest; any number is valid if fixed beforehand.

    Returns:
        Bounds are infinite and p is 1 with fewer than 30 rows on a side.
    """
    value = second.mean - first.mean
    if min(first.rows, second.rows) < _FEWEST:
        return Difference(value, -inf, inf, 1.0)
    spread = first.variance + second.variance
    noise = first.variance / first.rows + second.variance / second.rows
    if noise == 0:
        return Difference(value, value, value, 1.0 if value == 0 else 0.0)
    mixture = spread * _tuned(planned_rows, alpha)
    growth = 0.5 * log((noise + mixture) / noise)
    radius = sqrt(2 * noise * (noise + mixture) / mixture * (log(1 / alpha) + growth))
    evidence = mixture * value * value / (2 * noise * (noise + mixture)) - growth
    return Difference(value, value - radius, value + radius, min(1.0, exp(-min(evidence, 700.0))))


def _tuned(planned_rows: int, alpha: float) -> float:
    """Mixture variance for rows of unit variance: rho squared of equation 10."""
    return (-2 * log(alpha) + log(-2 * log(alpha) + 1)) / planned_rows
