"""Abrupt breaks of a column over time: does a wrong unit explain rows that differ from the days before?

Seasons move a column slowly and leave its values on the same scale marks; a wrong unit moves it at once, and off the marks.
A stretch of rows is therefore held against the distances that stretches of its length have shown before, in the same column.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rung.stats.conversions import CONVERSIONS, Conversion, Floats

Micros = NDArray[np.int64]
DAY = 86_400_000_000
CONTEXT_DAYS = 14
FEWEST = 30
_LEVELS = np.linspace(0.02, 0.98, 49)
_SPREAD = (0.05, 0.95)
_THIN = 2000
_LONGEST = 7 * DAY  # longer stretches are held against weeks: a short past has too few of their own length
# A column has marks when most rows of its newest quarter repeat a value of the older ones (a season brings some new).
_HAS_MARKS = 0.7
_MOST_MARKS = 20_000
_ON_MARKS = 0.7
_OFF_MARKS = 0.5
_NEARLY_ALL = 0.95
# Without marks the distance alone must convince: over twice the largest natural one, and nearly all of it undone.
_NATURAL_MARGIN = 2.0
_UNDONE = 4.0
_LEAST_DISTANCE = 0.5
_LEAST_SHARE = 0.02
_PLAIN_SHARE = 0.1


@dataclass(frozen=True)
class Series:
    """One numeric column in time order: ``times`` in microseconds, ``values`` finite."""

    times: Micros
    values: Floats

    def between(self, start: int, end: int) -> Series:
        """Rows with ``start <= time < end``."""
        low, high = np.searchsorted(self.times, [start, end])
        return Series(self.times[low:high], self.values[low:high])


@dataclass(frozen=True)
class UnitBreak:
    """A stretch [start, end) of rows that fits the days before only after a conversion.

    Distances are areas between quantile curves in units of the spread of the days before; ``natural`` is the largest one
    seen between a stretch of this length and the days before it. ``on_marks`` and ``restored_on_marks`` are the shares of
    rows whose value, as delivered and as restored, had been seen before; None for a column without recurring values.
    """

    conversion: Conversion
    start: int
    end: int
    rows: int
    distance: float
    restored: float
    natural: float
    median: float
    median_before: float
    median_restored: float
    on_marks: float | None = None
    restored_on_marks: float | None = None


class Past:
    """The rows of one column before a window, without rows known to be broken, with what can be learned from them once."""

    def __init__(self, rows: Series) -> None:
        self.rows = rows
        self._natural: dict[int, float] = {}

    @cached_property
    def marks(self) -> Floats | None:
        """The sorted recurring values, None for a column whose values do not recur."""
        values = self.rows.values
        older = values.size * 3 // 4
        if older < FEWEST:
            return None
        known = np.unique(values[:older])
        if known.size > _MOST_MARKS or float(np.mean(on_marks(values[older:], known))) < _HAS_MARKS:
            return None
        return np.unique(values)

    def context(self, start: int) -> Floats | None:
        """Values of the days before an instant; all the past when it ends earlier than that."""
        near = self.rows.between(start - DAY * CONTEXT_DAYS, start).values
        if near.size < FEWEST:
            near = self.rows.values
        near = thinned(near)
        return near if near.size >= FEWEST and spread(near) > 0 else None

    def natural_distance(self, length: int) -> float:
        """The largest distance between a stretch of ``length`` microseconds and the days before it; NaN without any."""
        if length not in self._natural:
            self._natural[length] = self._largest(length)
        return self._natural[length]

    def _largest(self, length: int) -> float:
        if self.rows.times.size == 0:
            return float("nan")
        first, last = int(self.rows.times[0]), int(self.rows.times[-1])
        seen = []
        for start in range(first + DAY * CONTEXT_DAYS // 2, last - length + 2, max(length // 2, DAY // 2)):
            block = thinned(self.rows.between(start, start + length).values)
            context = thinned(self.rows.between(start - DAY * CONTEXT_DAYS, start).values)
            if block.size >= FEWEST and context.size >= FEWEST and spread(context) > 0:
                seen.append(distance(block, context))
        return max(seen, default=float("nan"))


def distance(sample: Floats, context: Floats) -> float:
    """Mean gap between two quantile curves (2 % to 98 %), in units of the context's 5 % to 95 % spread, which is above 0."""
    return float(np.mean(np.abs(np.quantile(sample, _LEVELS) - np.quantile(context, _LEVELS)))) / spread(context)


def spread(values: Floats) -> float:
    """Distance from the 5 % to the 95 % quantile."""
    low, high = np.quantile(values, _SPREAD)
    return float(high - low)


def thinned(values: Floats, most: int = _THIN) -> Floats:
    """At most ``most`` of the values, evenly taken."""
    return values if values.size <= most else values[:: -(-values.size // most)]


def on_marks(values: Floats, marks: Floats, tolerance: float = 0.0) -> NDArray[np.bool_]:
    """Which values lie within ``tolerance`` (and rounding of doubles) of a mark."""
    place = np.searchsorted(marks, values)
    below, above = marks[np.maximum(place - 1, 0)], marks[np.minimum(place, marks.size - 1)]
    nearest = np.minimum(np.abs(values - below), np.abs(values - above))
    return np.asarray(nearest <= tolerance + 1e-9 * np.maximum(1.0, np.abs(values)))


def unit_break(past: Past, current: Series, conversions: tuple[Conversion, ...] = CONVERSIONS) -> UnitBreak | None:
    """The conversion that explains the most suspicious stretch of ``current``, None when none does."""
    if current.values.size < FEWEST:
        return None
    context = past.context(int(current.times[0]))
    if context is None:
        return None
    marks = past.marks
    if marks is not None:
        known = on_marks(current.values, marks)
        if float(known.mean()) > 1 - FEWEST / current.values.size or np.count_nonzero(~known) < FEWEST:
            return None
        found = [_by_marks(past, current, context, marks, known, item) for item in conversions]
    else:
        if spread(thinned(current.values)) == 0:
            return None
        found = [_by_distance(past, current, context, item) for item in conversions]
    likely = [item for item in found if item]
    return min(likely, key=lambda item: (-round(item.restored_on_marks or 0, 2), item.restored), default=None)


def _by_marks(
    past: Past, current: Series, context: Floats, marks: Floats, known: NDArray[np.bool_], conversion: Conversion
) -> UnitBreak | None:
    restored = on_marks(conversion.restore(current.values), marks)
    tolerance = _rounding(current.values) * abs(conversion.factor) / 2
    if float(restored.mean()) < _ON_MARKS and _chance(marks, tolerance) <= _OFF_MARKS:  # rounded after the conversion
        restored = on_marks(conversion.restore(current.values), marks, tolerance)
    stretch = _best_run(restored.astype(np.float64) - known)
    if stretch is None:
        return None
    found = _described(past, current, context, conversion, stretch)
    low, high = stretch
    raw_share, share = float(known[low:high].mean()), float(restored[low:high].mean())
    natural = found.natural if np.isfinite(found.natural) else _LEAST_DISTANCE
    plain = raw_share <= 1 - _NEARLY_ALL + 0.1 and share >= _NEARLY_ALL and high - low >= _PLAIN_SHARE * known.size
    if raw_share > _OFF_MARKS or share < _ON_MARKS or found.restored >= found.distance or not (plain or found.distance >= natural):
        return None
    return UnitBreak(**{**found.__dict__, "on_marks": raw_share, "restored_on_marks": share})


def _by_distance(past: Past, current: Series, context: Floats, conversion: Conversion) -> UnitBreak | None:
    centre, scale = float(np.median(context)), spread(context)
    gain = np.abs(current.values - centre) - np.abs(conversion.restore(current.values) - centre)
    stretch = _best_run(np.clip(gain / scale, -2, 2))
    if stretch is None:
        return None
    values = thinned(current.values[stretch[0] : stretch[1]])
    if distance(values, context) < max(_LEAST_DISTANCE, _UNDONE * distance(conversion.restore(values), context)):
        return None
    found = _described(past, current, context, conversion, stretch)
    far = np.isfinite(found.natural) and found.distance >= _NATURAL_MARGIN * found.natural
    return found if far and found.restored <= found.natural else None


def _described(past: Past, current: Series, context: Floats, conversion: Conversion, stretch: tuple[int, int]) -> UnitBreak:
    low, high = stretch
    values = thinned(current.values[low:high])
    restored = conversion.restore(values)
    start, end = int(current.times[low]), int(current.times[high - 1])
    length = min(max(DAY // 4, (end - start) // (DAY // 4) * (DAY // 4)), _LONGEST)
    return UnitBreak(
        conversion=conversion,
        start=start,
        end=end + 1,
        rows=high - low,
        distance=distance(values, context),
        restored=distance(restored, context),
        natural=past.natural_distance(length),
        median=float(np.median(values)),
        median_before=float(np.median(context)),
        median_restored=float(np.median(restored)),
    )


def _best_run(gain: Floats) -> tuple[int, int] | None:
    """The run of rows with the largest sum of gains (maximum subarray)."""
    sums = np.concatenate([[0.0], np.cumsum(gain)])
    end = int(np.argmax(sums - np.minimum.accumulate(sums)))
    start = int(np.argmin(sums[: end + 1]))
    return (start, end) if end - start >= max(FEWEST, gain.size * _LEAST_SHARE) else None


def _rounding(values: Floats) -> float:
    """The coarsest of 1, 0.1, 0.01, 0.001 that nearly all values are multiples of; 0 for none."""
    sample = thinned(values)
    for step in (1.0, 0.1, 0.01, 0.001):
        if np.mean(np.abs(sample / step - np.round(sample / step)) < 1e-6) > _NEARLY_ALL:  # noqa: PLR2004 - rounding of doubles
            return step
    return 0.0


def _chance(marks: Floats, tolerance: float) -> float:
    """Share of the marks' range that lies within ``tolerance`` of a mark: how often chance alone would hit one."""
    extent = float(marks[-1] - marks[0])
    return min(1.0, 2 * tolerance * marks.size / extent) if extent > 0 else 1.0
