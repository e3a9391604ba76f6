"""Drift of a window's columns against a reference: one sort a column, one family of adjusted p-values a window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from rung.monitoring.records import ColumnDrift, DriftVerdict
from rung.monitoring.rules import drift_verdict
from rung.stats.samples import DRIFT_TESTS, CategoryPair, Floats, NumericPair
from rung.stats.significance import benjamini_hochberg, smallest_ks, smallest_tvd

_MOST_CATEGORIES = 100
_OTHER = "(other values)"
_MOST_SAMPLED = 20_000
_FEWEST_BLOCKS = 3
SCORE = "score"


@dataclass
class ColumnReference:
    """What is kept of one column of the reference: sorted finite numbers or counts, and its natural variation."""

    column: str
    numeric: bool
    ordered: Floats
    counts: dict[Any, int]
    rows: int
    nulls: int
    natural: float = 0.0
    importance: float | None = None

    @property
    def known(self) -> int:
        """Rows that hold a value."""
        return self.ordered.size if self.numeric else sum(self.counts.values())


@dataclass
class Reference:
    """The rows a window is compared with, column by column, and the same for the scores where they are known."""

    name: str
    rows: int
    columns: dict[str, ColumnReference]
    score: ColumnReference | None = None
    frame: pl.DataFrame = field(default_factory=pl.DataFrame)
    time_column: str | None = None
    label: str | None = None


def is_numeric(series: pl.Series) -> bool:
    """Whether a column is compared as numbers: numeric with more than two values."""
    return series.dtype.is_numeric() and series.n_unique() > 2  # noqa: PLR2004 - two values are two categories


def finite(series: pl.Series) -> Floats:
    """The finite values of a numeric column."""
    values = np.asarray(series.drop_nulls().cast(pl.Float64, strict=False).drop_nulls().to_numpy(), dtype=np.float64)
    return values[np.isfinite(values)]


def counted(series: pl.Series) -> dict[Any, int]:
    """Rows a value, nulls left out; values as text, numbers in their shortest form."""
    filled = series.drop_nulls()
    if filled.dtype.is_numeric():
        filled = filled.cast(pl.Float64)
    table = filled.value_counts(sort=True)
    names = table.columns
    return {_written(value): int(count) for value, count in zip(table[names[0]].to_list(), table[names[1]].to_list(), strict=True)}


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def column_reference(column: str, series: pl.Series, *, blocks: int = 0) -> ColumnReference:
    """One column of the reference. With ``blocks`` its rows, in time order, are cut into so many for the natural variation."""
    numeric = is_numeric(series)
    found = ColumnReference(
        column=column,
        numeric=numeric,
        ordered=np.sort(finite(series)) if numeric else np.empty(0),
        counts={} if numeric else counted(series),
        rows=len(series),
        nulls=series.null_count(),
    )
    if blocks >= _FEWEST_BLOCKS:
        size = -(-len(series) // blocks)
        effects = [_effect(found, series[low : low + size], thin=True) for low in range(0, len(series), size)]
        found.natural = float(np.quantile(effects, 0.99))
    return found


def _pair(reference: ColumnReference, current: pl.Series, *, thin: bool = False) -> NumericPair | CategoryPair:
    if reference.numeric:
        ordered = reference.ordered
        if thin and ordered.size > _MOST_SAMPLED:
            ordered = ordered[:: -(-ordered.size // _MOST_SAMPLED)]
        return NumericPair(ordered, finite(current) if current.dtype.is_numeric() else np.empty(0), ordered=True)
    return CategoryPair(*_gathered(reference.counts, counted(current)))


def _gathered(reference: dict[Any, int], current: dict[Any, int]) -> tuple[dict[Any, int], dict[Any, int]]:
    """The most frequent values of the reference by name, all others as one."""
    if len({*reference, *current}) <= _MOST_CATEGORIES:
        return reference, current
    kept = set(list(reference)[: _MOST_CATEGORIES - 1])
    sides = []
    for counts in (reference, current):
        side = {name: count for name, count in counts.items() if name in kept}
        side[_OTHER] = sum(counts.values()) - sum(side.values())
        sides.append(side)
    return sides[0], sides[1]


def _effect(reference: ColumnReference, current: pl.Series, *, thin: bool = False) -> float:
    pair = _pair(reference, current, thin=thin)
    return DRIFT_TESTS.get("ks" if reference.numeric else "tvd").score(pair)


def compared(
    references: list[ColumnReference], current: pl.DataFrame, *, numeric_floor: float, category_floor: float
) -> tuple[ColumnDrift, ...]:
    """Drift of every reference column that the current rows have, largest effect over its floor first.

    The p-values of the whole window are adjusted together (Benjamini-Hochberg). A column drifts when its adjusted p is
    below 0.05 and its effect reaches the floor: the user's, or the variation between blocks of the reference if larger.
    """
    held = [reference for reference in references if reference.column in current.columns]
    pairs = [_pair(reference, current[reference.column]) for reference in held]
    found = [_measured(reference, pair, len(held)) for reference, pair in zip(held, pairs, strict=True)]
    adjusted = benjamini_hochberg(np.array([p for _, p, _, _ in found]))
    drifts = []
    for reference, pair, (effect, p, smallest, scores), p_adjusted in zip(held, pairs, found, adjusted, strict=True):
        floor = max(numeric_floor if reference.numeric else category_floor, reference.natural)
        verdict: DriftVerdict = drift_verdict(effect=effect, p_adjusted=float(p_adjusted), floor=floor, smallest=smallest)
        drifts.append(
            ColumnDrift(
                column=reference.column,
                kind="numeric" if reference.numeric else "category",
                test="ks" if reference.numeric else "tvd",
                effect=effect,
                floor=floor,
                p=p,
                p_adjusted=float(p_adjusted),
                verdict=verdict,
                rows_reference=reference.known,
                rows_current=int(pair.current.size if isinstance(pair, NumericPair) else pair.current.sum()),
                smallest_effect=smallest,
                importance=reference.importance,
                scores=scores,
            )
        )
    return tuple(sorted(drifts, key=lambda item: (item.verdict != "drifted", item.floor - item.effect)))


def _measured(reference: ColumnReference, pair: NumericPair | CategoryPair, tests: int) -> tuple[float, float, float, dict[str, float]]:
    kind, first = ("numeric", "ks") if reference.numeric else ("category", "tvd")
    scores = {name: test.score(pair) for name, test in DRIFT_TESTS.items() if test.kind == kind}
    smallest = smallest_ks(pair, tests) if isinstance(pair, NumericPair) else smallest_tvd(pair, tests)
    effect = scores.pop(first)
    return effect, DRIFT_TESTS.get(first).p(pair) or 0.0, smallest, scores
