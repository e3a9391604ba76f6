"""Sums and counts over trailing windows of rows that were known, by differences of exact running sums.

At time t a row counts when event time >= t - window and it was known at t. A row known later than one window after its
event never counts; without those rows, everything before the window is known at t, so the answer is the running sum by
the time rows became known, up to t, less the running sum by event time, up to just before t - window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rung.features.instants import NEVER, Micros
from rung.features.keys import Codes

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Timeline:
    """Rows ordered by code and time; answers how far an entity's rows reach at an instant."""

    def __init__(self, codes: Codes, times: Micros, ties: Places | None = None) -> None:
        ordered = np.sort(times)
        self._distinct = ordered[np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))]
        keys = codes * self._distinct.size + np.searchsorted(self._distinct, times)
        self.order: Places = np.argsort(keys, kind="stable") if ties is None else np.lexsort((ties, keys))
        self._codes, self._keys = codes[self.order], keys[self.order]

    def last(self, codes: Codes, times: Micros) -> Places:
        """Place in ``order`` of the last row of each code at or before its time; one before the code's first when there is none."""
        reached = np.searchsorted(self._distinct, times, side="right") - 1
        return np.searchsorted(self._keys, codes * self._distinct.size + reached, side="right") - 1

    def holds(self, codes: Codes, places: Places) -> npt.NDArray[np.bool_]:
        """Whether a place from ``last`` is a row of its code."""
        if self._codes.size == 0:
            return np.zeros(codes.shape, dtype=np.bool_)
        held: npt.NDArray[np.bool_] = (codes >= 0) & (places >= 0) & (self._codes[np.maximum(places, 0)] == codes)
        return held


@dataclass(frozen=True)
class RunningSum:
    """Running sums of n values as n + 1 pairs whose sum is exact to about 32 digits, so that differences do not cancel.

    Source:
        Møller's two-sum error term as in Ogita, Rump and Oishi, "Accurate sum and dot product" (2005), algorithm 3.1.
    """

    high: Floats
    low: Floats

    @classmethod
    def of(cls, values: Floats) -> RunningSum:
        """Of finite values."""
        high = np.concatenate([[0.0], np.cumsum(values)])
        before, after = high[:-1], high[1:]
        added = after - before
        lost = (before - (after - added)) + (values - added)
        return cls(high=high, low=np.concatenate([[0.0], np.cumsum(lost)]))

    def less(self, places: Places, other: RunningSum, others: Places) -> Floats:
        """This sum up to places less the other's up to others, both included."""
        answer: Floats = (self.high[places + 1] - other.high[others + 1]) + (self.low[places + 1] - other.low[others + 1])
        return answer


class Reach(NamedTuple):
    """Places of the last row known at t, and of the last row before the window."""

    up_to: Places
    before: Places


class Window:
    """Rows of one trailing window length, ready to be summed at any (code, time)."""

    def __init__(self, codes: Codes, events: Micros, known: Micros, window: int) -> None:
        self.rows = np.flatnonzero((codes >= 0) & (known != NEVER) & (known <= events + window))
        self.window = window
        self._by_known = Timeline(codes[self.rows], known[self.rows])
        self._by_event = Timeline(codes[self.rows], events[self.rows])

    def reach(self, codes: Codes, times: Micros) -> Reach:
        """How far the window of each (code, time) reaches; found once, used for every sum."""
        return Reach(self._by_known.last(codes, times), self._by_event.last(codes, times - self.window - 1))

    def total(self, values: Floats, reach: Reach) -> Floats:
        """Sum of ``values`` (one per source row; NaN and infinities count as in ordinary addition) over each window."""
        held = values[self.rows]
        if np.isfinite(held).all():
            return self._finite(held, reach)
        total = self._finite(np.where(np.isfinite(held), held, 0.0), reach)
        up, down, nans = (self._finite(mask.astype(np.float64), reach) > 0 for mask in (held == np.inf, held == -np.inf, np.isnan(held)))
        total = np.where(up, np.inf, np.where(down, -np.inf, total))
        return np.where(nans | (up & down), np.nan, total)

    def _finite(self, held: Floats, reach: Reach) -> Floats:
        known, earlier = RunningSum.of(held[self._by_known.order]), RunningSum.of(held[self._by_event.order])
        with np.errstate(invalid="ignore", over="ignore"):
            return known.less(reach.up_to, earlier, reach.before)
