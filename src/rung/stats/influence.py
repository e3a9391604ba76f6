"""How strongly each param goes along with a metric over runs, one param at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

_DRAWS = 200
_FEWEST = 5
_SEED = 20130101

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Influence:
    """Strength in [0, 1] with a 95 % interval; ``direction`` is 1 or -1 where the param is a number, 0 where it is a text."""

    param: str
    strength: float
    low: float
    high: float
    direction: int
    runs: int
    values: int


def influences(params: Mapping[str, Sequence[object]], metric: Sequence[float]) -> list[Influence]:
    """Strength of every param that takes more than one value, strongest first.

    A param of numbers: the absolute Spearman rank correlation. A param of texts: the square root of epsilon squared of
    the ranks (eta squared freed of its bias). The interval is the 2.5 and 97.5 percentile over 200 bootstrap draws of
    runs with a fixed seed. Each param is looked at by itself: params that move together share what one of them does,
    and what only happens in combination is not seen.

    Args:
        params: a value or None for each run, by name.
        metric: one value a run; runs whose value is not finite are left out.

    Returns:
        Empty for fewer than five runs with both values.
    """
    found = []
    scores = np.asarray(metric, dtype=np.float64)
    for name, values in params.items():
        held = np.array([value is not None for value in values]) & np.isfinite(scores)
        kept = [value for value, there in zip(values, held, strict=True) if there]
        distinct = len({str(value) for value in kept})
        if len(kept) < _FEWEST or distinct < 2 or np.ptp(scores[held]) == 0:  # noqa: PLR2004 - nothing to tell apart
            continue
        numbers = _numbers(kept)
        # As many texts as runs tell everything and mean nothing, such as a folder's name.
        if numbers is None and distinct > len(kept) / 2:
            continue
        found.append(_one(name, kept, numbers, scores[held], distinct))
    return sorted(found, key=lambda item: -item.strength)


def _one(name: str, kept: Sequence[object], numbers: Floats | None, scores: Floats, distinct: int) -> Influence:
    groups = np.unique([str(value) for value in kept], return_inverse=True)[1]
    rng = np.random.default_rng(_SEED)
    draws = []
    for _ in range(_DRAWS):
        rows = rng.integers(0, scores.size, scores.size)
        draws.append(abs(_signed(numbers[rows], scores[rows])) if numbers is not None else _between(groups[rows], scores[rows]))
    signed = _signed(numbers, scores) if numbers is not None else 0.0
    strength = abs(signed) if numbers is not None else _between(groups, scores)
    low, high = np.percentile(draws, (2.5, 97.5))
    direction = 0 if numbers is None else 1 if signed >= 0 else -1
    return Influence(name, strength, min(float(low), strength), max(float(high), strength), direction, scores.size, distinct)


def _numbers(values: Sequence[object]) -> Floats | None:
    """The values as numbers; None where one of them is none. Texts that read as numbers count: many clients send texts."""
    found = []
    for value in values:
        if isinstance(value, bool):
            return None
        try:
            number = float(value)  # type: ignore[arg-type]  # whatever cannot be read is caught
        except (TypeError, ValueError):
            return None
        if not isfinite(number):
            return None
        found.append(number)
    return np.asarray(found, dtype=np.float64)


def _ranks(values: Floats) -> Floats:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means = last - (counts + 1) / 2
    return np.asarray(means[inverse], dtype=np.float64)


def _signed(values: Floats, scores: Floats) -> float:
    x, y = _ranks(values), _ranks(scores)
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size else 0.0


def _between(groups: NDArray[np.intp], scores: Floats) -> float:
    ranks = _ranks(scores)
    present, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    total = float(((ranks - ranks.mean()) ** 2).sum())
    if not total or ranks.size <= present.size:
        return 0.0
    means = np.bincount(inverse, weights=ranks) / counts
    within = float(((ranks - means[inverse]) ** 2).sum())
    # epsilon squared = 1 - MS_within / MS_total
    unbiased = 1 - (within / (ranks.size - present.size)) / (total / (ranks.size - 1))
    return float(np.sqrt(max(0.0, unbiased)))
