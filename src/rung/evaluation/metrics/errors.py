"""How far predicted values are off: mean absolute error, root mean squared error, R², mean error."""

from __future__ import annotations

import numpy as np

from rung.evaluation.metric import Floats, Weighing, mean_of, metric, ratio


@metric("mae", "regression", greater_is_better=False)
def mae(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Mean distance from the label, in its unit."""
    return mean_of(np.abs(scores - labels))


@metric("rmse", "regression", greater_is_better=False)
def rmse(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Root of the mean squared distance from the label, in its unit."""
    squared = mean_of((scores - labels) ** 2)
    return lambda weights: np.sqrt(squared(weights))


@metric("r2", "regression")
def r2(labels: Floats, scores: Floats, threshold: float) -> Weighing:
    """Share of the labels' variance that is explained; below 0 when their mean would have done better. NaN if they do not vary."""
    squared = (scores - labels) ** 2
    centred = labels - labels.mean()

    def weigh(weights: Floats) -> Floats:
        mass = weights.sum(axis=1)
        spread = weights @ centred**2 - ratio((weights @ centred) ** 2, mass)
        return 1 - ratio(weights @ squared, spread)

    return weigh
