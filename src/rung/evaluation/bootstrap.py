"""How sure a number is: the paired bootstrap of a difference, and Wilson's interval of a share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from rung.evaluation.metric import Floats, Metric

_CELLS = 2_000_000  # weights held at once, so that memory stays flat whatever rows and resamples


@dataclass(frozen=True)
class Difference:
    """Candidate less champion on the same rows, turned so that above 0 is better, with its interval."""

    candidate: float
    champion: float
    gain: float
    low: float
    high: float


def paired_difference(
    metric: Metric,
    labels: Floats,
    candidate: Floats,
    champion: Floats,
    *,
    thresholds: tuple[float, float] = (0.5, 0.5),
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The difference of two models on the same rows, with the percentile interval of resampling those rows.

    Each resample draws the rows with replacement, told as multinomial counts; both models are scored with the same
    counts, so what the rows have in common cancels out. Resamples that do not define the metric are left out; when
    fewer than half define it the bounds are NaN.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13, from memory of the text.
    """
    sign = 1.0 if metric.greater_is_better else -1.0
    bound = [metric.bind(labels, scores, threshold) for scores, threshold in zip((candidate, champion), thresholds, strict=True)]
    whole = [float(weigh(np.ones((1, len(labels))))[0]) for weigh in bound]
    drawn: list[Floats] = []
    rng = np.random.default_rng(seed)
    block = max(1, min(resamples, _CELLS // max(len(labels), 1)))
    for start in range(0, resamples, block):
        counts = _counts(rng, min(block, resamples - start), len(labels))
        drawn.append(bound[0](counts) - bound[1](counts))
    gains = sign * np.concatenate(drawn)
    gains = gains[np.isfinite(gains)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(gains, [tail, 1 - tail]) if len(gains) * 2 >= resamples else (math.nan, math.nan)
    return Difference(whole[0], whole[1], sign * (whole[0] - whole[1]), float(low), float(high))


def wilson(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Bounds of a share seen as ``successes`` of ``trials``; (0, 1) when nothing was tried.

    Source: E. B. Wilson (1927), the score interval, as every textbook prints it.
    """
    if trials <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def _counts(rng: np.random.Generator, resamples: int, rows: int) -> Floats:
    """Multinomial counts of shape (resamples, rows), each row summing to ``rows``: drawn as indices, which is faster."""
    drawn = rng.integers(0, rows, size=(resamples, rows), dtype=np.int64)
    drawn *= resamples
    drawn += np.arange(resamples, dtype=np.int64)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * rows).reshape(rows, resamples).astype(np.float64).T
