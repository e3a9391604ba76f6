"""Pairs of samples that drift tests compare, and the family of those tests.

A pair sorts or counts once; every test reads from it. Numbers are finite here: nulls, NaN and infinities are counted
beforehand as signals of their own, never fed to a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from rung.core.families import Family

Floats = NDArray[np.float64]
PairKind = Literal["numeric", "category"]
P = TypeVar("P", bound="NumericPair | CategoryPair")
_DECILES = np.linspace(0.1, 0.9, 9)


class NumericPair:
    """Finite values of the reference and of the current rows, sorted once."""

    def __init__(self, reference: Floats, current: Floats, *, ordered: bool = False) -> None:
        self.reference = reference if ordered else np.sort(reference)
        self.current = np.sort(current)

    @property
    def empty(self) -> bool:
        """Whether one side has no value."""
        return self.reference.size == 0 or self.current.size == 0

    @cached_property
    def merged(self) -> Floats:
        """Both samples in one order."""
        return np.sort(np.concatenate([self.reference, self.current]), kind="stable")

    @cached_property
    def gaps(self) -> Floats:
        """Differences of the two distribution functions at every merged value."""
        below_reference = np.searchsorted(self.reference, self.merged, side="right") / self.reference.size
        below_current = np.searchsorted(self.current, self.merged, side="right") / self.current.size
        return np.asarray(below_reference - below_current, dtype=np.float64)

    @cached_property
    def decile_shares(self) -> tuple[Floats, Floats]:
        """Shares of both samples in bins (e[k-1], e[k]] between the distinct deciles of the reference; the outer bins are open."""
        edges = np.unique(np.quantile(self.reference, _DECILES))
        return _binned(self.reference, edges), _binned(self.current, edges)

    @property
    def effective_rows(self) -> float:
        """nm / (n + m)."""
        n, m = self.reference.size, self.current.size
        return n * m / (n + m) if n + m else 0.0


class CategoryPair:
    """Counts of the union of values in the reference and in the current rows."""

    def __init__(self, reference: dict[Any, int], current: dict[Any, int]) -> None:
        names = sorted({*reference, *current}, key=str)
        self.names = names
        self.reference = np.array([reference.get(name, 0) for name in names], dtype=np.float64)
        self.current = np.array([current.get(name, 0) for name in names], dtype=np.float64)

    @property
    def empty(self) -> bool:
        """Whether one side has no value."""
        return bool(self.reference.sum() == 0 or self.current.sum() == 0)

    @cached_property
    def shares(self) -> tuple[Floats, Floats]:
        """Shares of both sides, value by value."""
        return self.reference / self.reference.sum(), self.current / self.current.sum()

    @property
    def effective_rows(self) -> float:
        """nm / (n + m)."""
        n, m = self.reference.sum(), self.current.sum()
        return float(n * m / (n + m)) if n + m else 0.0


@dataclass(frozen=True)
class DriftTest(Generic[P]):
    """A named distance between the two sides of a pair, with its p-value where it has one.

    An empty side answers 0 with p = 1: nothing was seen, so nothing is claimed; the decision rule calls it insufficient.
    """

    name: str
    kind: PairKind
    measure: Callable[[P], float]
    significance: Callable[[P], float] | None = None

    def score(self, pair: P) -> float:
        """The distance; 0 when a side is empty."""
        return 0.0 if pair.empty else self.measure(pair)

    def p(self, pair: P) -> float | None:
        """The p-value; None for a distance without one."""
        if self.significance is None:
            return None
        return 1.0 if pair.empty else self.significance(pair)


DRIFT_TESTS: Family[DriftTest[Any]] = Family("drift_tests", "rung.stats.drift")


def drift_test(
    name: str, kind: PairKind, *, significance: Callable[[Any], float] | None = None
) -> Callable[[Callable[[P], float]], Callable[[P], float]]:
    """Enter the decorated distance in the family of drift tests."""

    def register(measure: Callable[[P], float]) -> Callable[[P], float]:
        DRIFT_TESTS.add(name, DriftTest(name, kind, measure, significance))
        return measure

    return register


def population_index(expected: Floats, actual: Floats, least: float = 1e-4) -> float:
    """Sum of (q - p) ln(q / p) over bins, shares floored at ``least`` and not renormalised."""
    p, q = np.maximum(expected, least), np.maximum(actual, least)
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(p: Floats, q: Floats) -> float:
    """Jensen-Shannon distance of two distributions, base 2, in [0, 1]."""
    middle = (p + q) / 2
    divergence = _relative_entropy(p, middle) + _relative_entropy(q, middle)
    return float(np.sqrt(max(divergence, 0.0) / 2 / np.log(2)))


def _relative_entropy(p: Floats, q: Floats) -> float:
    held = p > 0
    return float(np.sum(p[held] * np.log(p[held] / q[held])))


def _binned(ordered: Floats, edges: Floats) -> Floats:
    below = np.searchsorted(ordered, edges, side="right")
    return np.asarray(np.diff(np.concatenate([[0], below, [ordered.size]])) / ordered.size, dtype=np.float64)
