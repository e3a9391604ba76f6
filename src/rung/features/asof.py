"""The point-in-time join: each label row meets, of each view, what was known of its entity at its time, never more.

A row is a candidate at time t when its key is equal, its event time is at most t and, in mode ``known``, it was known at
t. Of the candidates the one with the greatest (event time, created, place in the source) wins; a winner older than the
view's TTL is expired and reads as null. Rows in are rows out, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from rung.core.errors import Invalid
from rung.features.instants import NEVER, Micros, optional, required
from rung.features.keys import NO_KEY, Codes, Keys
from rung.features.records import Feature, FeatureView
from rung.features.windows import Floats, Reach, Timeline, Window

Frame = pl.DataFrame | pl.LazyFrame


@dataclass(frozen=True)
class Found:
    """What label rows met of one view: the feature columns, and per row the winner's event time and whether it expired."""

    columns: list[pl.Series]
    events: Micros
    present: npt.NDArray[np.bool_]
    expired: npt.NDArray[np.bool_]


def join(labels: Frame, views: Sequence[tuple[FeatureView, Frame]], time_column: str, *, zone: str | None = None) -> pl.DataFrame:
    """Label rows with the features of every view, point-in-time correct.

    Args:
        labels: rows with the key columns of every view and ``time_column``.
        views: each view with the rows of its dataset.
        time_column: the instant at which a label row asks.
        zone: the zone of label times without one; without it they are refused.

    Raises:
        Invalid: a column is missing or named twice, times are naive or null, or keys are of different kinds.
    """
    return join_prepared(labels, [Source(view, frame) for view, frame in views], time_column, zone=zone)[0]


class Source:
    """The rows of one view, sorted once and asked often."""

    def __init__(self, view: FeatureView, frame: Frame) -> None:
        where = f"View {view.name!r}"
        self.view = view
        rows = _needed(view, frame)
        self._keys = Keys(rows, view.entity, where)
        self._events = required(rows[view.time_column], view.zone, where)
        created = optional(rows[view.created_column], view.zone, where) if view.created_column else self._events
        self._known = np.maximum(self._events, created) if view.effective_mode == "known" else self._events
        self._plain = [feature for feature in view.features if feature.aggregate is None]
        self._windows: dict[int, Window] = {}
        self._there = {f.column: _there(rows[f.column]) for f in view.features if f.aggregate and f.column}
        self._values = {f.column: _values(rows[f.column], f) for f in view.features if f.aggregate in {"sum", "mean"} and f.column}
        self._rows = rows.select(list(dict.fromkeys(feature.source for feature in self._plain)))
        if self._plain:
            self._rank(np.where(created == NEVER, np.iinfo(np.int64).min, created))

    def at(self, labels: pl.DataFrame, times: Micros) -> Found:
        """The features of each label row at its time."""
        codes = self._keys.of(labels)
        nothing = np.zeros(len(times), dtype=np.bool_)
        found = self._winners(codes, times) if self._plain else Found([], np.zeros(len(times), dtype=np.int64), nothing, nothing)
        columns = {column.name: column for column in found.columns}
        seen = nothing
        reached: dict[int, Reach] = {}
        for feature in self.view.features:
            if feature.aggregate is not None:
                columns[feature.name], counted = self._windowed(feature, codes, times, reached)
                seen = seen | counted
        ordered = [columns[feature.name] for feature in self.view.features]
        return Found(ordered, found.events, found.present if self._plain else seen, found.expired)

    def _rank(self, created: Micros) -> None:
        rows = np.flatnonzero((self._keys.codes >= 0) & (self._known != NEVER))
        codes, events = self._keys.codes[rows], self._events[rows]
        order = np.lexsort((rows, created[rows], events, codes))
        rank = np.empty(rows.size, dtype=np.int64)
        rank[order] = np.arange(rows.size)
        self._timeline = Timeline(codes, self._known[rows], rank)
        # Ranks rise with the code first, so a running maximum over all entities is one within each of them.
        best = np.maximum.accumulate(rank[self._timeline.order]) if rows.size else rank
        self._best = rows[order[best]]

    def _winners(self, codes: Codes, times: Micros) -> Found:
        places = self._timeline.last(codes, times)
        held = self._timeline.holds(codes, places)
        winners = self._best[np.where(held, places, 0)] if self._best.size else np.zeros(len(times), dtype=np.int64)
        events = self._events[winners] if self._best.size else np.zeros(len(times), dtype=np.int64)
        fresh = held if self.view.ttl_s is None else held & (events >= times - _micros(self.view.ttl_s))
        index = pl.Series(np.where(fresh, winners, -1), dtype=pl.Int64)
        index = index.set(index < 0, None)
        columns = [self._rows[feature.source].gather(index).rename(feature.name) for feature in self._plain]
        return Found(columns, events, fresh, held & ~fresh)

    def _windowed(
        self, feature: Feature, codes: Codes, times: Micros, reached: dict[int, Reach]
    ) -> tuple[pl.Series, npt.NDArray[np.bool_]]:
        length = _micros(feature.window_s or 0.0)
        window = self._windows.get(length)
        if window is None:
            window = self._windows[length] = Window(self._keys.codes, self._events, self._known, length)
        if length not in reached:
            reached[length] = window.reach(np.maximum(codes, -1), times)
        reach = reached[length]
        there = self._there[feature.column] if feature.column else np.ones(len(self._events))
        counts = np.where(codes >= 0, window.total(there, reach), 0.0)
        nothing = counts == 0
        if feature.aggregate == "count" or feature.column is None:
            answer = pl.Series(feature.name, counts.astype(np.int64))
            return answer.set(pl.Series(codes == NO_KEY), None), ~nothing
        total = window.total(self._values[feature.column], reach)
        if feature.aggregate == "mean":
            total = total / np.maximum(counts, 1.0)
        return pl.Series(feature.name, total).set(pl.Series(nothing), None), ~nothing


def join_prepared(
    labels: Frame, sources: Sequence[Source], time_column: str, *, zone: str | None = None
) -> tuple[pl.DataFrame, tuple[Found, ...]]:
    """The join over sources made ready before, and what each of them gave."""
    rows = labels.collect() if isinstance(labels, pl.LazyFrame) else labels
    if time_column not in rows.columns:
        raise Invalid(f"Label rows have no column {time_column!r}.", code="features.no_column", hint=f"Columns: {', '.join(rows.columns)}.")
    _refuse_twice(rows.columns, [source.view for source in sources])
    times = required(rows[time_column], zone, "Label")
    found = tuple(source.at(rows, times) for source in sources)
    joined = rows.with_columns(column for item in found for column in item.columns)
    if joined.height != rows.height:
        raise Invalid("The join changed the number of rows.", code="features.rows_changed", hint="Report it: this must not happen.")
    return joined, found


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _needed(view: FeatureView, frame: Frame) -> pl.DataFrame:
    wanted = [*view.entity, view.time_column, *([view.created_column] if view.created_column else [])]
    wanted += [f.source for f in view.features if f.aggregate is None or f.column]
    lazy = frame.lazy()
    held = lazy.collect_schema().names()
    absent = [name for name in wanted if name not in held]
    if absent:
        raise Invalid(
            f"View {view.name!r} needs column {absent[0]!r}, which its rows do not have.",
            code="features.no_column",
            hint=f"Columns: {', '.join(held)}.",
        )
    return lazy.select(list(dict.fromkeys(wanted))).collect()


def _there(series: pl.Series) -> Floats:
    """1 where there is a value, 0 for nulls."""
    return series.is_not_null().cast(pl.Float64).to_numpy()


def _values(series: pl.Series, feature: Feature) -> Floats:
    """Values as doubles, 0 for nulls."""
    if not (series.dtype.is_numeric() or series.dtype in {pl.Boolean, pl.Null}):
        raise Invalid(
            f"Feature {feature.name!r} takes the {feature.aggregate} of {series.name!r}, which is {series.dtype}.",
            code="features.not_a_number",
            hint="Aggregate a number or a boolean.",
        )
    return series.cast(pl.Float64).fill_null(0.0).to_numpy()


def _refuse_twice(columns: Sequence[str], views: Sequence[FeatureView]) -> None:
    owner = dict.fromkeys(columns, "the label rows")
    for view in views:
        for feature in view.features:
            if feature.name in owner:
                raise Invalid(
                    f"Feature {feature.name!r} of view {view.name!r} is also a column of {owner[feature.name]}.",
                    code="features.twice",
                    hint="Rename the feature.",
                )
            owner[feature.name] = f"view {view.name!r}"
