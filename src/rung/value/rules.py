"""Money from outcomes: row values, block intervals, thresholds, break-even. Pure functions of arrays and records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from rung.value.records import Interval, ThresholdAdvice, ValueMatrix

Floats = NDArray[np.float64]
_RESAMPLES = 1000
_CUTS = 200
_NORMAL_95 = 1.959964


def row_values(matrix: ValueMatrix, score: Floats, label: Floats, threshold: float | None) -> Floats:
    """Money of each row, shape (n,).

    With a threshold a row is acted on when its score reaches it, and counts tp, fp, fn or tn by its label (0 or 1).
    Without one the score is a value, and its error beyond ``free`` counts ``over`` or ``under`` a unit.
    """
    if threshold is None:
        error = score - label
        return np.asarray(matrix.over * np.maximum(error - matrix.free, 0.0) + matrix.under * np.maximum(-error - matrix.free, 0.0))
    acted = score >= threshold
    hit, missed = np.where(label > 0, matrix.tp, matrix.fp), np.where(label > 0, matrix.fn, matrix.tn)
    return np.asarray(np.where(acted, hit, missed), dtype=np.float64)


def without_model(matrix: ValueMatrix, label: Floats, *, classification: bool) -> Floats:
    """Money of each row had there been no model: nobody is acted on; a value is guessed as the median label."""
    if classification:
        return np.asarray(np.where(label > 0, matrix.fn, matrix.tn), dtype=np.float64)
    return row_values(matrix, np.full_like(label, np.median(label)) if label.size else label, label, None)


def perfect(matrix: ValueMatrix, label: Floats) -> Floats:
    """Money of each row had every case been treated rightly; the most any model could earn."""
    return np.asarray(np.where(label > 0, max(matrix.tp, matrix.fn), max(matrix.tn, matrix.fp)), dtype=np.float64)


def theoretical_threshold(matrix: ValueMatrix) -> float:
    """The probability from which acting pays: (tn - fp) / ((tn - fp) + (tp - fn)), for calibrated scores.

    Source: expected value of acting against not acting, set equal. 12, -4, 0, 0 gives 0.25.
    """
    gain, loss = matrix.tp - matrix.fn, matrix.tn - matrix.fp
    return float(loss / (loss + gain)) if gain > 0 and loss + gain > 0 else 1.0


def block_total(values: Floats, blocks: NDArray[np.int64], *, level: float = 0.95, seed: int = 0) -> Interval:
    """The sum of the values with a bootstrap interval that draws whole blocks (days), since rows of a day depend.

    Args:
        values: shape (n,).
        blocks: shape (n,), the block each row belongs to. With one block the rows themselves are drawn.
        level: coverage of the interval.
        seed: of the draws.
    """
    if values.size == 0:
        return Interval(estimate=0.0, low=0.0, high=0.0)
    _, place = np.unique(blocks, return_inverse=True)
    sums = np.bincount(place, weights=values)
    if sums.size < 2:  # noqa: PLR2004 - one block has no spread of its own
        spread = 1.96 * float(values.std()) * float(np.sqrt(values.size))
        return Interval(estimate=float(values.sum()), low=float(values.sum()) - spread, high=float(values.sum()) + spread)
    draws = np.random.default_rng(seed).multinomial(sums.size, np.full(sums.size, 1 / sums.size), size=_RESAMPLES) @ sums
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate=float(sums.sum()), low=float(low), high=float(high))


@dataclass(frozen=True)
class Mean:
    """Money of a decision in the mean, the variance of that mean, and how many decisions and entities it rests on."""

    value: float
    variance: float
    rows: int
    entities: int


def mean_of(values: Floats, entities: NDArray[np.int64]) -> Mean:
    """The mean over decisions, its variance between entities, since decisions about one entity depend on each other.

    Args:
        values: shape (n,), money of each decision.
        entities: shape (n,), whom each decision is about. With one entity the variance is infinite.

    Source:
        Linearised ratio of totals, with G / (G - 1) for G entities: Cochran, Sampling Techniques (1977), section 6.3.
    """
    if values.size == 0:
        return Mean(0.0, float("inf"), 0, 0)
    mean = float(values.mean())
    _, place = np.unique(entities, return_inverse=True)
    sums = np.bincount(place, weights=values - mean)
    many = sums.size
    variance = many / (many - 1) * float((sums**2).sum()) / values.size**2 if many > 1 else float("inf")
    return Mean(mean, variance, values.size, many)


def mean_difference(treated: Mean, held: Mean) -> Interval:
    """What a decision of the one earns more than one of the other, with a 95 % interval."""
    estimate, spread = treated.value - held.value, _NORMAL_95 * sqrt(treated.variance + held.variance)
    return Interval(estimate=estimate, low=estimate - spread, high=estimate + spread)


def scaled(interval: Interval, factor: float) -> Interval:
    """The interval times a factor that is not negative."""
    return Interval(estimate=interval.estimate * factor, low=interval.low * factor, high=interval.high * factor)


def shifted(interval: Interval, by: float) -> Interval:
    """The interval moved."""
    return Interval(estimate=interval.estimate + by, low=interval.low + by, high=interval.high + by)


def threshold_advice(matrix: ValueMatrix, score: Floats, label: Floats, current: float) -> ThresholdAdvice:
    """Which threshold would have earned most on these rows, and what the current one lost against it."""
    cuts = np.unique(np.concatenate([[current, theoretical_threshold(matrix)], np.quantile(score, np.linspace(0, 1, _CUTS))]))
    earned = np.array([row_values(matrix, score, label, float(cut)).sum() for cut in cuts])
    best = int(np.argmax(earned))
    held = float(earned[np.searchsorted(cuts, current)])
    return ThresholdAdvice(
        current=current, best=float(cuts[best]), theoretical=theoretical_threshold(matrix), current_value=held,
        best_value=float(earned[best]), lost=float(earned[best]) - held,
    )  # fmt: skip


def outcome_counts(score: Floats, label: Floats, threshold: float) -> dict[str, int]:
    """How many rows were tp, fp, fn, tn."""
    acted, late = score >= threshold, label > 0
    pairs = {"tp": acted & late, "fp": acted & ~late, "fn": ~acted & late, "tn": ~acted & ~late}
    return {name: int(mask.sum()) for name, mask in pairs.items()}


def payback(days: list[datetime], earned: list[float], cost: float) -> datetime | None:
    """The first day on which the money earned so far covers all costs; None when it never does."""
    total = 0.0
    for day, amount in zip(days, earned, strict=True):
        total += amount
        if total >= cost:
            return day
    return None


def break_even(cost: float, serving: float, incremental: float, rows: int) -> float | None:
    """Predictions after which the costs that do not grow with volume are earned back; None when a prediction loses money."""
    if rows == 0:
        return None
    margin = (incremental - serving) / rows
    return (cost - serving) / margin if margin > 0 else None
