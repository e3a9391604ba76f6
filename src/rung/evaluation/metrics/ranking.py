"""How well scores order the rows: areas under the ROC and the precision-recall curve."""

from __future__ import annotations

import numpy as np

from rung.evaluation.metric import Floats, Weighing, metric, ratio


@metric("roc_auc", "binary", "multiclass")
def roc_auc(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Share of pairs of a positive and a negative row that the scores order rightly, ties counting half.

    With several classes it is the mean of one class against the rest. NaN unless both kinds of rows are there.
    """
    if scores.ndim == 1:
        return _binary_auc(labels, scores)
    bound = [_binary_auc((labels == number).astype(np.float64), scores[:, number]) for number in range(scores.shape[1])]
    return lambda weights: np.mean([weigh(weights) for weigh in bound], axis=0)


def _binary_auc(labels: Floats, scores: Floats) -> Weighing:
    positive = np.flatnonzero(labels > 0)
    negative = np.flatnonzero(labels <= 0)
    negative = negative[np.argsort(scores[negative], kind="stable")]
    positive = positive[np.argsort(scores[positive], kind="stable")]  # in order, so that memory is read forwards
    first = np.searchsorted(scores[negative], scores[positive], side="left")
    last = np.searchsorted(scores[negative], scores[positive], side="right")

    def weigh(weights: Floats) -> Floats:
        by_row = np.ascontiguousarray(weights.T)  # a row's weights side by side: several times faster to pick
        below = np.zeros((len(negative) + 1, by_row.shape[1]))
        np.cumsum(by_row[negative], axis=0, out=below[1:])
        chosen = by_row[positive]
        won = np.einsum("ij,ij->j", chosen, below[first])
        tied = np.flatnonzero(first != last)
        won += np.einsum("ij,ij->j", chosen[tied], below[last[tied]] - below[first[tied]]) / 2
        return ratio(won, chosen.sum(axis=0) * below[-1])

    return weigh


@metric("pr_auc", "binary")
def pr_auc(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Average precision: precision at each score, weighted by the recall gained there. NaN without a positive row."""
    order, starts = _groups(-scores)
    positive = labels[order]

    def weigh(weights: Floats) -> Floats:
        held = np.ascontiguousarray(weights.T)[order].T
        gained = np.add.reduceat(held * positive, starts, axis=1)
        right = np.cumsum(gained, axis=1)
        reached = np.cumsum(np.add.reduceat(held, starts, axis=1), axis=1)
        precision = np.divide(right, reached, out=np.zeros_like(right), where=reached > 0)
        return ratio(np.sum(gained * precision, axis=1), gained.sum(axis=1))

    return weigh


def _groups(values: Floats) -> tuple[np.ndarray, np.ndarray]:
    """Order of ascending values, and where in it each run of equal values starts."""
    order = np.argsort(values, kind="stable")
    held = values[order]
    return order, np.flatnonzero(np.r_[True, held[1:] != held[:-1]])
