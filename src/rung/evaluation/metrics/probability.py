"""How right probabilities are: log loss, Brier score, calibration error."""

from __future__ import annotations

import numpy as np

from rung.evaluation.metric import Floats, Weighing, mean_of, metric, ratio

_BINS = 10


@metric("log_loss", "binary", "multiclass", greater_is_better=False)
def log_loss(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Mean negative logarithm of the probability given to what came true, in nats; probabilities are kept off 0 and 1 by 2.2e-16."""
    given = np.where(labels > 0, scores, 1 - scores) if scores.ndim == 1 else scores[np.arange(len(labels)), labels.astype(np.int64)]
    tiny = np.finfo(np.float64).eps
    return mean_of(-np.log(np.clip(given, tiny, 1 - tiny)))


@metric("brier", "binary", greater_is_better=False)
def brier(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Mean squared distance of the probability from what came true."""
    return mean_of((scores - labels) ** 2)


@metric("ece", "binary", greater_is_better=False)
def ece(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Expected calibration error over ten bins of equal mass: mean distance of predicted from observed share."""
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, _BINS + 1)))
    bins = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, max(len(edges) - 2, 0))
    order = np.argsort(bins, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(bins[order]) > 0])
    excess = (scores - labels)[order]

    def weigh(weights: Floats) -> Floats:
        off = np.add.reduceat(weights[:, order] * excess, starts, axis=1)
        return ratio(np.abs(off).sum(axis=1), weights.sum(axis=1))

    return weigh
