"""The join against a slow oracle that follows the rules row by row; it never sees the future."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.features.asof import join
from rung.features.records import Feature, FeatureView

START = datetime(2013, 1, 1, tzinfo=UTC)
SOURCE = {"k": pl.String, "g": pl.Int64, "event": pl.Int64, "created": pl.Int64, "value": pl.Float64}
LABELS = {"k": pl.String, "g": pl.Int64, "at": pl.Int64}

ticks = st.integers(0, 30)
key = st.sampled_from(["a", "b", "c", None])
group = st.sampled_from([1, 2])
numbers = st.sampled_from([None, 0.0, 1.0, -2.5, 1e17, 3.0, math.nan, math.inf, -math.inf])
source_rows = st.lists(st.tuples(key, group, ticks, st.one_of(st.none(), ticks), numbers), max_size=25)
label_rows = st.lists(st.tuples(key, group, ticks), max_size=15)


def instants(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
    return frame.with_columns((pl.lit(START) + pl.duration(seconds=pl.col(name))).dt.cast_time_unit("us").alias(name) for name in names)


def frames(source: list, labels: list) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = pl.DataFrame(source, schema=SOURCE, orient="row")
    asked = pl.DataFrame(labels, schema=LABELS, orient="row").with_row_index("row")
    return instants(rows, "event", "created"), instants(asked, "at")


def oracle_value(source: list, label: tuple, *, known: bool, ttl: int | None) -> float | None:
    """Rules 2 to 5 read aloud."""
    k, g, t = label
    candidates = [
        (event, -1 if created is None else created, place, value)
        for place, (kk, gg, event, created, value) in enumerate(source)
        if k is not None and (kk, gg) == (k, g) and event <= t and not (known and (created is None or created > t))
    ]
    if not candidates:
        return None
    event, _, _, value = max(candidates, key=lambda row: row[:3])
    return None if ttl is not None and event < t - ttl else value


def oracle_window(source: list, label: tuple, window: int) -> list[float | None]:
    k, g, t = label
    return [
        value
        for kk, gg, event, created, value in source
        if k is not None and (kk, gg) == (k, g) and t - window <= event <= t and created is not None and created <= t
    ]


def same(got: float | None, wanted: float | None) -> bool:
    if got is None or wanted is None:
        return got is wanted
    return (math.isnan(got) and math.isnan(wanted)) or got == wanted


@settings(max_examples=120, deadline=None)
@given(source_rows, label_rows, st.booleans(), st.one_of(st.none(), st.integers(1, 12)))
def test_the_join_is_what_the_rules_say(source: list, labels: list, known: bool, ttl: int | None) -> None:
    rows, asked = frames(source, labels)
    view = FeatureView(
        name="v", entity=("k", "g"), dataset="d", time_column="event", created_column="created", ttl_s=ttl,
        features=(Feature(name="value"),), mode="known" if known else "event",
    )  # fmt: skip
    joined = join(asked, [(view, rows)], "at")
    assert joined.drop("value").equals(asked)
    wanted = [oracle_value(source, label, known=known, ttl=ttl) for label in labels]
    assert all(same(a, b) for a, b in zip(joined["value"].to_list(), wanted, strict=True)), (joined, wanted)


@settings(max_examples=120, deadline=None)
@given(source_rows, label_rows, st.integers(1, 12))
def test_windows_are_what_the_rules_say(source: list, labels: list, window: int) -> None:
    rows, asked = frames(source, labels)
    features = (
        Feature(name="n", aggregate="count", window_s=window),
        Feature(name="filled", column="value", aggregate="count", window_s=window),
        Feature(name="total", column="value", aggregate="sum", window_s=window),
        Feature(name="mean", column="value", aggregate="mean", window_s=window),
    )
    view = FeatureView(name="v", entity=("k", "g"), dataset="d", time_column="event", created_column="created", features=features)
    joined = join(asked, [(view, rows)], "at")
    for label, n, filled, total, mean in zip(labels, *(joined[name].to_list() for name in ("n", "filled", "total", "mean")), strict=True):
        values = oracle_window(source, label, window)
        there = [value for value in values if value is not None]
        assert n == (None if label[0] is None else len(values))
        assert filled == (None if label[0] is None else len(there))
        special = any(not math.isfinite(v) for v in there)
        wanted = (sum(there) if special else math.fsum(there)) if there else None
        assert same(total, wanted) or total == pytest.approx(wanted, rel=1e-15), (label, there, total)
        assert mean is None if wanted is None else same(mean, wanted / len(there)) or mean == pytest.approx(wanted / len(there), rel=1e-15)


@settings(max_examples=60, deadline=None)
@given(source_rows, label_rows, st.integers(0, 30))
def test_rows_that_come_later_change_nothing(source: list, labels: list, cut: int) -> None:
    """What is asked at or before an instant has the same answer when everything known after it is taken away."""
    features = (Feature(name="value"), Feature(name="sum", column="value", aggregate="sum", window_s=9))
    view = FeatureView(name="v", entity=("k", "g"), dataset="d", time_column="event", created_column="created", features=features)
    early = [label for label in labels if label[2] <= cut]
    past = [row for row in source if row[2] <= cut and row[3] is not None and row[3] <= cut]
    whole, asked = frames(source, early)
    assert join(asked, [(view, whole)], "at").equals(join(asked, [(view, frames(past, [])[0])], "at"))


def test_the_five_cases_that_lose_rows_elsewhere() -> None:
    """Fresh, stale only, never seen, future only, and a tie: each label row stays, each with its own value."""
    at = START + timedelta(days=10)
    rows = pl.DataFrame(
        {
            "k": ["fresh", "stale", "future", "tie", "tie"],
            "event": [at - timedelta(hours=1), at - timedelta(days=5), at + timedelta(hours=1), at, at],
            "value": [1, 2, 3, 4, 5],
        }
    )
    labels = pl.DataFrame({"k": ["never", "tie", "future", "stale", "fresh", "fresh"], "at": [at] * 6})
    view = FeatureView(name="v", entity=("k",), dataset="d", time_column="event", ttl_s=86400, features=(Feature(name="value"),))
    assert join(labels, [(view, rows)], "at")["value"].to_list() == [None, 5, None, None, 1, 1]


def test_both_ends_of_the_time_to_live_belong_to_it() -> None:
    at = START + timedelta(days=1)
    rows = pl.DataFrame(
        {"k": ["a", "b", "c"], "event": [at, at - timedelta(seconds=60), at - timedelta(seconds=60, microseconds=1)], "v": [1, 2, 3]}
    )
    labels = pl.DataFrame({"k": ["a", "b", "c"], "at": [at] * 3})
    view = FeatureView(name="w", entity=("k",), dataset="d", time_column="event", ttl_s=60, features=(Feature(name="v"),))
    assert join(labels, [(view, rows)], "at")["v"].to_list() == [1, 2, None]
