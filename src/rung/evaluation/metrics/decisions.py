"""How right decisions at the threshold are (with several classes: at the greatest score): accuracy, precision, recall, F1.

With several classes precision, recall and F1 are means over the classes that occur or are predicted, each counting
alike, and 0 where a class has no denominator. With two they are of the positive class, and NaN without a denominator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rung.evaluation.metric import Floats, Weighing, mean_of, metric, ratio

Parts = Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]  # right, said, true -> dividend, divisor


@metric("accuracy", "binary", "multiclass")
def accuracy(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Share of rows decided rightly."""
    return mean_of((decided(scores, threshold) == labels).astype(np.float64))


@metric("precision", "binary", "multiclass")
def precision(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Share of positive decisions that were right."""
    return _counted(labels, scores, threshold, lambda right, said, _: (right, said))


@metric("recall", "binary", "multiclass")
def recall(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Share of positive rows that were found."""
    return _counted(labels, scores, threshold, lambda right, _, true: (right, true))


@metric("f1", "binary", "multiclass")
def f1(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Harmonic mean of precision and recall."""
    return _counted(labels, scores, threshold, lambda right, said, true: (2 * right, said + true))


def decided(scores: Floats, threshold: float) -> Floats:
    """Class numbers: 1 from the threshold on, or the class of the greatest score."""
    if scores.ndim == 1:
        return np.asarray(scores >= threshold, dtype=np.float64)
    return np.asarray(np.argmax(scores, axis=1), dtype=np.float64)


def _counted(labels: Floats, scores: Floats, threshold: float, parts: Parts) -> Weighing:
    said = decided(scores, threshold)
    if scores.ndim == 1:
        counts = _counts(labels, said, 1)
        return lambda weights: ratio(*parts(*counts(weights)))
    classes = [_counts(labels, said, number) for number in range(scores.shape[1])]

    def weigh(weights: Floats) -> Floats:
        total, seen = np.zeros(len(weights)), np.zeros(len(weights))
        for counts in classes:
            right, chosen, true = counts(weights)
            total += np.nan_to_num(ratio(*parts(right, chosen, true)))
            seen += (chosen + true) > 0
        return ratio(total, seen)

    return weigh


def _counts(labels: Floats, said: Floats, number: int) -> Callable[[Floats], tuple[Floats, Floats, Floats]]:
    right = ((labels == number) & (said == number)).astype(np.float64)
    chosen, true = (said == number).astype(np.float64), (labels == number).astype(np.float64)
    return lambda weights: (weights @ right, weights @ chosen, weights @ true)
