"""Faults of a window's input: what is broken in itself, whatever the statistics of drift say.

Every share is held against the reference and against the largest share that blocks of rows of the same length have had
before, so that a season or a sparse column is not taken for a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from rung.core.clock import from_micros
from rung.data.records import Expectation
from rung.monitoring.columns import Reference
from rung.monitoring.records import QualityFault
from rung.stats.breaks import Past, Series, UnitBreak, unit_break
from rung.stats.significance import ALPHA, two_proportions_p

NULL_FLOOR = 0.05
NEW_FLOOR = 0.02
RANGE_FLOOR = 0.02
STUCK_SHARE = 0.5
_STUCK_RISE = 0.3
_DUPLICATE_RISE = 0.1
_FEW_ROWS = 0.3
_BROKEN_SHARE = 0.01
_FEWEST = 30
_BLOCKS_TO_KNOW_ROWS = 4
TIME = "event_time"
Lacking = dict[str, tuple[tuple[str, int], ...]]


@dataclass(frozen=True)
class History:
    """Rows before a window, oldest first, with ``event_time``; ``spoiled`` are stretches already known to be broken, by column.

    ``lacking`` names, by column, versions that do not take it: their rows are neither here nor there.
    """

    frame: pl.DataFrame
    spoiled: dict[str, tuple[tuple[datetime, datetime], ...]]
    lacking: Lacking = field(default_factory=dict)

    def whole(self, column: str) -> pl.DataFrame:
        """The rows whose value of that column is not known to be broken."""
        keep = pl.lit(True)  # noqa: FBT003 - a Polars literal
        for start, end in self.spoiled.get(column, ()):
            keep = keep & ~((pl.col(TIME) >= start) & (pl.col(TIME) < end))
        return having(self.frame.filter(keep), [column], self.lacking).select(TIME, column)


def having(frame: pl.DataFrame, columns: Iterable[str], lacking: Lacking) -> pl.DataFrame:
    """Rows without those of versions that do not take one of the columns."""
    if frame.schema.get("model") != pl.String or frame.schema.get("version") != pl.Int64:
        return frame  # rows of the reference, which no version answered
    for model, number in {key for name in columns for key in lacking.get(name, ())}:
        frame = frame.filter(~pl.col("model").eq_missing(model) | ~pl.col("version").eq_missing(number))
    return frame


def history(
    reference: Reference, served: pl.DataFrame, before: datetime, spoiled: dict[str, tuple[tuple[datetime, datetime], ...]],
    lacking: Lacking | None = None,
) -> History:  # fmt: skip
    """Reference rows older than the served ones, then the served rows before an instant.

    A reference without times is spread over the weeks before the first served row, in its own order.
    """
    served = served.filter(pl.col(TIME) < before)
    first = served[TIME].min() if len(served) else before
    columns = [name for name in reference.columns if name in reference.frame.columns]
    past = reference.frame.select(
        *columns, *([reference.time_column] if reference.time_column and reference.time_column not in columns else [])
    )
    if reference.time_column:
        past = past.with_columns(pl.col(reference.time_column).alias(TIME)).filter(pl.col(TIME) < first).sort(TIME)
    else:
        span = timedelta(days=56)
        places = pl.int_range(len(past), eager=True).cast(pl.Float64) / max(len(past), 1) * span.total_seconds() * 1e6
        past = past.with_columns((pl.lit(first) - span + places.cast(pl.Int64).cast(pl.Duration("us"))).alias(TIME))
    kept = [*columns, *(name for name in ("model", "version") if lacking and name not in columns)]
    frames = [f.select(TIME, *[pl.col(c) for c in kept if c in f.columns]) for f in (past, served) if len(f)]
    frames = [f.with_columns(pl.col(TIME).dt.cast_time_unit("us").dt.convert_time_zone("UTC")) for f in frames]
    joined = pl.concat(frames, how="diagonal_relaxed") if frames else past.clear()
    return History(joined, spoiled, lacking or {})


def faults(reference: Reference, past: History, current: pl.DataFrame, *, length: timedelta) -> tuple[QualityFault, ...]:
    """Every fault of the current rows, the most certain kinds first."""
    found: list[QualityFault] = []
    for name, held in reference.columns.items():
        if name not in current.columns:
            found.append(
                QualityFault(column=name, kind="missing", share=1.0, reference_share=0.0, statement=f"{name} is not delivered any more.")
            )
            continue
        rows = having(current, [name], past.lacking).select(TIME, name).sort(TIME)
        if rows.is_empty():
            continue
        if held.numeric and not rows[name].dtype.is_numeric() and rows[name].null_count() < len(rows):
            found.append(_wrong_type(name, rows))
            continue
        before = past.whole(name) if name in past.frame.columns else past.frame.select(TIME).with_columns(pl.lit(None).alias(name))
        found += _of_column(reference, name, before, rows, length)
    found += _duplicates(reference, current)
    order = ("missing", "type", "unit", "nulls", "stuck", "new_category", "out_of_range", "duplicates", "rows", "expectation")
    return tuple(sorted(found, key=lambda fault: (order.index(fault.kind), -fault.share)))


def _of_column(reference: Reference, name: str, before: pl.DataFrame, rows: pl.DataFrame, length: timedelta) -> list[QualityFault]:
    held = reference.columns[name]
    found = [_nulls(held.nulls / max(held.rows, 1), held.rows, before, rows, length)]
    if held.numeric:
        broken = broken_unit(before, rows)
        if broken:
            return [fault for fault in (*found, _unit(name, broken, len(rows))) if fault]
        found.append(_out_of_range(before, rows, length))
    elif not rows[name].dtype.is_numeric():
        found.append(_new_category(before, rows, set(held.counts)))
    found.append(_stuck(before, rows, length))
    return [fault for fault in found if fault]


def broken_unit(before: pl.DataFrame, rows: pl.DataFrame) -> UnitBreak | None:
    """The wrong unit of a column's rows (time, value), judged by the rows before; None when there is none."""
    return unit_break(Past(_series(before)), _series(rows))


def _series(frame: pl.DataFrame) -> Series:
    column = next(name for name in frame.columns if name != TIME)
    kept = frame.filter(pl.col(column).is_not_null()).with_columns(pl.col(column).cast(pl.Float64, strict=False))
    kept = kept.filter(pl.col(column).is_finite())
    return Series(kept[TIME].dt.epoch("us").to_numpy(), kept[column].to_numpy())


def _unit(name: str, broken: UnitBreak, rows: int) -> QualityFault:
    statement = (
        f"{name} is delivered in {broken.conversion.delivered} instead of {broken.conversion.meant}: median {broken.median:.4g} against "
        f"{broken.median_before:.4g} in the days before, {broken.median_restored:.4g} once converted back "
        f"(distance {broken.distance:.2f}, largest natural one {broken.natural:.2f}, {broken.restored:.2f} once converted back)."
    )
    return QualityFault(
        column=name,
        kind="unit",
        share=broken.rows / rows,
        reference_share=0.0,
        statement=statement,
        since=from_micros(broken.start),
        until=from_micros(broken.end),
    )


def _blocks(before: pl.DataFrame, value: pl.Expr, length: timedelta) -> list[float]:
    """The share ``value`` takes in blocks of the history, each as long as the window."""
    if before.is_empty():
        return []
    last = before[TIME].max()
    index = ((pl.lit(last) - pl.col(TIME)).dt.total_microseconds() // int(length.total_seconds() * 1e6)).alias("block")
    table = before.group_by(index).agg(value.alias("share"), pl.len().alias("rows")).filter(pl.col("rows") >= _FEWEST)
    return [float(share) for share in table["share"].to_list() if share is not None]


def _allowance(shares: list[float]) -> float:
    """How far above the largest natural share a share must be, beside its floor: half of what it varied by."""
    return (max(shares) - min(shares)) / 2 if shares else 0.0


def _nulls(share_reference: float, rows_reference: int, before: pl.DataFrame, rows: pl.DataFrame, length: timedelta) -> QualityFault | None:
    name = _column(rows)
    missing = _null(rows[name])
    share = float(missing.mean())
    natural = [share_reference, *_blocks(before, pl.col(name).is_null().mean(), length)]
    rise = share - max(natural)
    if rise < max(NULL_FLOOR, _allowance(natural)):
        return None
    hits_reference = round(share_reference * rows_reference)
    if two_proportions_p(int(missing.sum()), len(rows), hits_reference, rows_reference) >= ALPHA:
        return None
    return QualityFault(
        column=name, kind="nulls", share=share, reference_share=share_reference, since=_since(rows, missing, max(natural)),
        statement=f"{name} is null in {share:.1%} of the rows; {share_reference:.1%} in the reference, at most {max(natural):.1%} in any window before.",
    )  # fmt: skip


def _null(series: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    null = series.is_null()
    if series.dtype.is_float():
        null = null | series.is_nan().fill_null(False)  # noqa: FBT003 - a Polars literal
    return np.asarray(null.to_numpy(), dtype=np.bool_)


def _new_category(before: pl.DataFrame, rows: pl.DataFrame, known: set[str]) -> QualityFault | None:
    name = _column(rows)
    known = known | set(before[name].drop_nulls().cast(pl.String).unique().to_list())
    values = rows[name].cast(pl.String)
    new = np.asarray((values.is_not_null() & ~values.is_in(list(known))).to_numpy(), dtype=np.bool_)
    share = float(new.mean())
    if share < NEW_FLOOR:
        return None
    examples = ", ".join(repr(v) for v in rows.filter(pl.Series(new))[name].cast(pl.String).unique().sort().head(3).to_list())
    return QualityFault(
        column=name, kind="new_category", share=share, reference_share=0.0, since=_since(rows, new, 0.0),
        statement=f"{name} holds values never seen before in {share:.1%} of the rows, such as {examples}.",
    )  # fmt: skip


def _out_of_range(before: pl.DataFrame, rows: pl.DataFrame, length: timedelta) -> QualityFault | None:
    name = _column(rows)
    value = pl.col(name).cast(pl.Float64)
    known = before.filter(value.is_finite())[name].drop_nulls().cast(pl.Float64).to_numpy()
    if known.size < _FEWEST:
        return None
    low, first, last, high = np.quantile(known, (0.001, 0.01, 0.99, 0.999))
    width = last - first
    middle, least, most = float(np.median(known)), float(known.min()), float(known.max())
    # the extremes seen count too, and half as far again: a heavy tail has no other edge
    low, high = min(low - width, least - (middle - least) / 2), max(high + width, most + (most - middle) / 2)
    outside = (value < low) | (value > high) | value.is_infinite()
    hits = np.asarray(rows.select(outside.fill_null(False)).to_series().to_numpy(), dtype=np.bool_)  # noqa: FBT003 - a Polars literal
    share = float(hits.mean())
    natural = _blocks(before, outside.fill_null(False).mean(), length) or [0.0]  # noqa: FBT003 - a Polars literal
    if width == 0 or share - max(natural) < max(RANGE_FLOOR, _allowance(natural)):
        return None
    return QualityFault(
        column=name, kind="out_of_range", share=share, reference_share=max(natural), since=_since(rows, hits, max(natural)),
        statement=f"{name} lies outside [{low:.4g}, {high:.4g}] in {share:.1%} of the rows; at most {max(natural):.1%} in any window before.",
    )  # fmt: skip


def _stuck(before: pl.DataFrame, rows: pl.DataFrame, length: timedelta) -> QualityFault | None:
    name = _column(rows)
    filled = rows[name].drop_nulls()
    if len(filled) < _FEWEST or before[name].n_unique() <= 2:  # noqa: PLR2004 - a flag may well have one value all week
        return None
    top = filled.value_counts(sort=True)[0]
    value, share = top[name][0], int(top["count"][0]) / len(rows)
    same = (pl.col(name) == value).fill_null(False)  # noqa: FBT003 - a Polars literal
    natural = _blocks(before, same.mean(), length) or [0.0]
    if share <= STUCK_SHARE or share - max(natural) < _STUCK_RISE or share < 10 * float(np.median(natural)):
        return None
    hits = np.asarray(rows.select(same).to_series().to_numpy(), dtype=np.bool_)
    return QualityFault(
        column=name, kind="stuck", share=share, reference_share=max(natural), since=_since(rows, hits, max(natural)),
        statement=f"{name} is stuck at {value!r} in {share:.1%} of the rows; at most {max(natural):.1%} in any window before.",
    )  # fmt: skip


def _duplicates(reference: Reference, current: pl.DataFrame) -> list[QualityFault]:
    columns = [TIME, *[name for name in reference.columns if name in current.columns]]
    if len(current) < _FEWEST:
        return []
    share = 1 - current.select(columns).n_unique() / len(current)
    frame, time = reference.frame, reference.time_column
    known = [name for name in reference.columns if name in frame.columns]
    usual = (
        1 - frame.select(*known, *([time] if time and time not in known else [])).n_unique() / max(len(frame), 1)
        if time and len(frame)
        else share
    )
    if share - usual < _DUPLICATE_RISE:
        return []
    statement = f"{share:.1%} of the rows repeat another row in every column; {usual:.1%} in the reference."
    return [QualityFault(column="(rows)", kind="duplicates", share=share, reference_share=max(usual, 0.0), statement=statement)]


def broken_expectations(claims: Sequence[Expectation], reference: Reference, current: pl.DataFrame, as_of: datetime) -> list[QualityFault]:
    """Blocking claims of the reference's dataset about single columns that served rows break, where at least 1 % of the rows do."""
    from rung.data.checking import check  # noqa: PLC0415 - only datasets with expectations need it

    columns = [name for name in reference.columns if name in current.columns]
    wanted = [c for c in claims if c.blocking and c.arguments.get("column") in columns]
    found = []
    for result in check(current.select(columns).lazy(), wanted, as_of):
        share = result.failing / len(current) if result.failing is not None and len(current) else 1.0
        if not result.passed and share >= _BROKEN_SHARE:
            column = str(result.expectation.arguments["column"])
            statement = f"{result.expectation} does not hold on {share:.1%} of the rows: {result.observed}."[:1000]
            found.append(QualityFault(column=column, kind="expectation", share=share, reference_share=0.0, statement=statement))
    return found


def too_few_rows(rows: int, before: list[int]) -> QualityFault | None:
    """A window with under 30 % of the rows that windows usually have; None while fewer than four are known."""
    if len(before) < _BLOCKS_TO_KNOW_ROWS or rows >= _FEW_ROWS * float(np.median(before)):
        return None
    usual = float(np.median(before))
    statement = f"Only {rows} predictions in the window; {usual:.0f} are usual."
    return QualityFault(column="(rows)", kind="rows", share=rows / usual, reference_share=1.0, statement=statement)


def _wrong_type(name: str, rows: pl.DataFrame) -> QualityFault:
    statement = f"{name} is delivered as {rows[name].dtype}, not as a number."
    return QualityFault(column=name, kind="type", share=1.0, reference_share=0.0, statement=statement, since=rows[TIME][0])


def _since(rows: pl.DataFrame, hits: np.ndarray[tuple[int], np.dtype[np.bool_]], usual: float) -> datetime | None:
    """The instant from which hits are more frequent than usual: start of the run with the largest surplus."""
    surplus = np.concatenate([[0.0], np.cumsum(hits - (usual + hits.mean()) / 2)])
    end = int(np.argmax(surplus - np.minimum.accumulate(surplus)))
    start = int(np.argmin(surplus[: end + 1]))
    at = rows[TIME][min(start, len(rows) - 1)]
    return at if isinstance(at, datetime) else None


def _column(rows: pl.DataFrame) -> str:
    return next(name for name in rows.columns if name != TIME)


def stretches(windows: list[tuple[datetime, datetime, tuple[QualityFault, ...]]]) -> dict[str, tuple[tuple[datetime, datetime], ...]]:
    """Per column, the stretches of time that faults of earlier windows (start, end, faults) have spoiled."""
    found: dict[str, list[tuple[datetime, datetime]]] = {}
    for start, end, held in windows:
        for fault in held:
            found.setdefault(fault.column, []).append((fault.since or start, fault.until or end))
    return {column: tuple(items) for column, items in found.items()}
