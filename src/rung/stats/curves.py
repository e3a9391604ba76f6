"""Several curves as one: their mean and spread where each of them is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """Values by step; steps do not fall. Values that are not finite are left out."""

    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Band:
    """Mean over curves at each x, and mean minus and plus one standard deviation; None where no curve reaches."""

    x: list[float]
    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]


def band(curves: Sequence[Curve], most: int = 200) -> Band:
    """Mean and standard deviation of curves, each read between its own first and last point only.

    Args:
        curves: at least one; between two points a curve is a straight line.
        most: how many x there are at most. With no more steps than that in all curves together, those are the x.

    Returns:
        x and mean, and mean ± the standard deviation over curves (ddof 1; 0 where one curve reaches).

    >>> band([Curve([0, 1], [0.0, 2.0]), Curve([0, 1], [2.0, 4.0])]).mean
    [1.0, 3.0]
    """
    kept = []
    for curve in curves:
        steps, values = np.asarray(curve.steps, dtype=np.float64), np.asarray(curve.values, dtype=np.float64)
        finite = np.isfinite(values)
        if finite.any():
            kept.append((steps[finite], values[finite]))
    if not kept:
        return Band([], [], [], [])
    x = np.unique(np.concatenate([steps for steps, _ in kept]))
    if x.size > most:
        x = np.linspace(x[0], x[-1], most)
    rows = np.vstack([np.interp(x, steps, values, left=np.nan, right=np.nan) for steps, values in kept])
    count = np.isfinite(rows).sum(axis=0)
    reached = count > 0
    mean = np.where(reached, np.nansum(rows, axis=0) / np.maximum(count, 1), np.nan)
    squares = np.nansum((rows - mean) ** 2, axis=0)
    spread = np.sqrt(squares / np.maximum(count - 1, 1))
    return Band(x.tolist(), _known(mean), _known(mean - spread), _known(mean + spread))


def _known(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
