"""Statistics of a table, computed by Polars in one pass for the aggregates and one more for each histogram."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from rung.data.records import ColumnKind, ColumnProfile, DatasetVersion, Histogram, Profile, Quantile, ValueCount

SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS, TOP = 20, 10


def profile_table(version: DatasetVersion, table: pl.LazyFrame, now: datetime) -> Profile:
    """The profile of a table version; one column is in memory at a time."""
    schema = table.collect_schema()
    columns = tuple(column_profile(table.select(name).collect().to_series()) for name in schema)
    return Profile(
        dataset=version.dataset, number=version.number, rows=version.rows, size_bytes=version.size_bytes, columns=columns, computed_at=now
    )


def profile_files(version: DatasetVersion, now: datetime) -> Profile:
    """The profile of plain files: how many of each ending."""
    endings: dict[str, int] = {}
    for entry in version.files:
        ending = PurePosixPath(entry.path).suffix or "none"
        endings[ending] = endings.get(ending, 0) + 1
    return Profile(
        dataset=version.dataset, number=version.number, rows=None, size_bytes=version.size_bytes, endings=endings, computed_at=now
    )


def column_profile(series: pl.Series) -> ColumnProfile:
    """Statistics of one column, of any type and length, none included."""
    kind = kind_of(series.dtype)
    common: dict[str, Any] = {
        "name": series.name, "dtype": str(series.dtype), "kind": kind, "count": series.len(), "nulls": series.null_count(),
    }  # fmt: skip
    held = series.drop_nulls()
    if kind == "other":
        return ColumnProfile(**common)
    distinct = held.n_unique() if held.len() else 0
    common |= {"distinct": distinct, "constant": held.len() > 0 and distinct == 1, "top": _top(held)}
    if kind in {"number", "boolean"}:
        return ColumnProfile(**common, **_numbers(held))
    if kind == "time":
        text = held.cast(pl.String)
        first, last = (None, None) if held.is_empty() else (str(text[held.arg_min() or 0]), str(text[held.arg_max() or 0]))
        return ColumnProfile(**common, earliest=first, latest=last)
    lengths = held.cast(pl.String).str.len_chars()
    ends = () if held.is_empty() else (lengths.arg_min() or 0, lengths.arg_max() or 0)
    shortest, longest = (int(lengths[i]) for i in ends) if ends else (None, None)
    return ColumnProfile(**common, shortest=shortest, longest=longest)


def kind_of(dtype: pl.DataType) -> ColumnKind:
    """What a column is counted as."""
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_numeric():
        return "number"
    if dtype.is_temporal():
        return "time"
    return "text" if dtype in {pl.String, pl.Categorical, pl.Enum} else "other"


def _numbers(held: pl.Series) -> dict[str, Any]:
    values = held.cast(pl.Float64)
    nans, infinities = int(values.is_nan().sum()), int(values.is_infinite().sum())
    finite = values.filter(values.is_finite())
    found: dict[str, Any] = {"nans": nans, "infinities": infinities}
    if finite.is_empty():
        return found
    ordered = finite.sort()
    quantiles = tuple(Quantile(share=share, value=_float(ordered.quantile(share, "linear"))) for share in SHARES)
    return found | {
        "minimum": _float(ordered[0]), "maximum": _float(ordered[-1]), "mean": _float(ordered.mean()),
        "std": _float(ordered.std(ddof=0)), "quantiles": quantiles, "histogram": histogram(ordered),
    }  # fmt: skip


def histogram(ordered: pl.Series, bins: int = BINS) -> Histogram:
    """Counts of sorted finite values in bins of equal width; one bin when all are equal."""
    low, high = _float(ordered[0]), _float(ordered[-1])
    width = (high - low) / bins
    if width == 0 or width != width or width == float("inf"):  # noqa: PLR0124 - not a number
        return Histogram(edges=(low, high), counts=(ordered.len(),))
    edges = [low + i * width for i in range(bins)] + [high]
    below = [int(ordered.search_sorted(edge, "left")) for edge in edges[1:-1]]
    bounds = [0, *below, ordered.len()]
    return Histogram(edges=tuple(edges), counts=tuple(max(b - a, 0) for a, b in pairwise(bounds)))


def _top(held: pl.Series) -> tuple[ValueCount, ...]:
    if held.is_empty():
        return ()
    counted = held.rename("value").value_counts(sort=True).head(TOP)
    return tuple(ValueCount(value=str(row[0]), count=row[1]) for row in counted.iter_rows())


def _float(value: Any) -> float:
    return float(value)
