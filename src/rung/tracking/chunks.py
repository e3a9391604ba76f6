"""Packed metric points: columns of a series, their compressed form with a summary, and thinning that keeps extremes.

A summary holds the first, smallest, greatest and last point of each of 64 equal stretches, so that a chart of millions
of points reads summaries only. Arrays have shape (n,): steps and instants (µs) int64, values float64 with NaN.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_STRETCHES = 64
_PER_STRETCH = 4  # first, smallest, greatest, last
_LEVEL = 1


@dataclass(frozen=True)
class Points:
    """Columns of points."""

    steps: Ints
    ats: Ints
    values: Floats

    def __len__(self) -> int:
        return int(self.steps.size)

    @classmethod
    def of_rows(cls, rows: Sequence[Any]) -> Points:
        """Columns of rows (step, microseconds, value, is_nan)."""
        if not rows:
            return EMPTY
        steps, ats, values, nans = zip(*rows, strict=True)
        found = np.array(values, dtype=np.float64)
        found[np.array(nans, dtype=bool)] = np.nan
        return cls(np.array(steps, dtype=np.int64), np.array(ats, dtype=np.int64), found)

    def taken(self, which: Any) -> Points:
        """Some of the points, by slice, mask or indexes."""
        return Points(self.steps[which], self.ats[which], self.values[which])


EMPTY = Points(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def joined(parts: Iterable[Points]) -> Points:
    """Parts one after the other."""
    held = [part for part in parts if len(part)]
    if not held:
        return EMPTY
    if len(held) == 1:
        return held[0]
    return Points(*(np.concatenate([getattr(part, name) for part in held]) for name in ("steps", "ats", "values")))


def ordered(points: Points, *, by_instant: bool = False) -> Points:
    """By step, instant and value (or by instant, step and value), each point once."""
    keys = (points.values, points.steps, points.ats) if by_instant else (points.values, points.ats, points.steps)
    found = points.taken(np.lexsort(keys))
    if len(found) < 2:  # noqa: PLR2004 - nothing can be double
        return found
    same_value = (found.values[1:] == found.values[:-1]) | (np.isnan(found.values[1:]) & np.isnan(found.values[:-1]))
    double = (found.steps[1:] == found.steps[:-1]) & (found.ats[1:] == found.ats[:-1]) & same_value
    return found.taken(np.concatenate(([True], ~double)))


def cut(points: Points, size: int) -> Iterator[Points]:
    """Whole chunks of about ``size`` points by step and instant; points of one step and instant stay together."""
    start, n = 0, len(points)
    while n - start >= size:
        end = start + size
        while end < n and points.steps[end] == points.steps[end - 1] and points.ats[end] == points.ats[end - 1]:
            end += 1
        yield points.taken(slice(start, end))
        start = end


def encoded(points: Points) -> tuple[bytes, bytes]:
    """A chunk's bytes and its summary's."""
    return _packed(points), _packed(_summary(points))


def decoded(data: bytes) -> Points:
    """The points of a chunk or of a summary."""
    plain = np.frombuffer(zlib.decompress(data), dtype=np.uint8)
    n = plain.size // 24
    values = np.ascontiguousarray(plain[16 * n :].reshape(8, n).T).view(np.float64).reshape(n)
    steps, ats = (np.cumsum(plain[i * 8 * n : (i + 1) * 8 * n].view(np.int64)) for i in range(2))
    return Points(steps, ats, values)


def thinned(points: Points, limit: int) -> Points:
    """At most about ``limit`` points: equal stretches, of each the first, smallest, greatest and last point in order."""
    if len(points) <= limit:
        return points
    return points.taken(_kept(points.values, max(limit // _PER_STRETCH, 1)))


def _summary(points: Points) -> Points:
    return points if len(points) <= _STRETCHES * _PER_STRETCH else points.taken(_kept(points.values, _STRETCHES))


def _kept(values: Floats, stretches: int) -> Ints:
    """Indexes of the first, smallest, greatest and last value of equal stretches; NaN is neither small nor great."""
    n = values.size
    edges = np.arange(stretches + 1, dtype=np.int64) * n // stretches
    width = int(np.diff(edges).max())
    # Stretches as rows of one matrix, the shorter ones filled up with their last index.
    index = np.minimum(edges[:-1, None] + np.arange(width), edges[1:, None] - 1)
    table = values[index]
    lowest = index[np.arange(stretches), np.argmin(np.where(np.isnan(table), np.inf, table), axis=1)]
    highest = index[np.arange(stretches), np.argmax(np.where(np.isnan(table), -np.inf, table), axis=1)]
    return np.unique(np.concatenate((edges[:-1], edges[1:] - 1, lowest, highest)))


def _packed(points: Points) -> bytes:
    deltas = [np.diff(column, prepend=np.int64(0)).tobytes() for column in (points.steps, points.ats)]
    shuffled = points.values.view(np.uint8).reshape(-1, 8).T.tobytes()  # bytes of equal weight together compress
    return zlib.compress(b"".join((*deltas, shuffled)), _LEVEL)
