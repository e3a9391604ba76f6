from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from rung.monitoring.quality import faults, history, too_few_rows
from tests.unit.monitoring.worlds import START, reference, rows

WEEK = timedelta(days=7)
YEAR = rows(200)
TRAINED = YEAR.filter(pl.col("event_time") < START + timedelta(days=60))
REFERENCE = reference(TRAINED)


def _week(day: int) -> pl.DataFrame:
    start = START + timedelta(days=day)
    return YEAR.filter((pl.col("event_time") >= start) & (pl.col("event_time") < start + WEEK))


def _faults(day: int, week: pl.DataFrame) -> dict[str, str]:
    served = YEAR.filter(pl.col("event_time") >= START + timedelta(days=60))
    past = history(REFERENCE, served, START + timedelta(days=day), {})
    return {fault.column: fault.kind for fault in faults(REFERENCE, past, week, length=WEEK)}


@pytest.mark.parametrize("day", range(60, 190, 14))
def test_a_whole_week_has_no_fault_in_any_season(day: int) -> None:
    assert _faults(day, _week(day)) == {}


MIDDLE = pl.col("event_time").dt.weekday() > 3
PLANTED = {
    "unit": (pl.col("temp").sub(32).truediv(1.8).alias("temp"), {"temp": "unit"}),
    "nulls": (pl.when(MIDDLE).then(None).otherwise(pl.col("wind")).alias("wind"), {"wind": "nulls"}),
    "all nulls": (pl.lit(None, dtype=pl.Float64).alias("wind"), {"wind": "nulls"}),
    "stuck": (pl.lit(7.0).alias("wind"), {"wind": "stuck"}),
    "recoded": (pl.col("sky").replace("rain", "RAIN").alias("sky"), {"sky": "new_category"}),
    "out of range": (pl.when(MIDDLE).then(-999.0).otherwise(pl.col("wind")).alias("wind"), {"wind": "out_of_range"}),
    "type": (pl.col("temp").cast(pl.String).add(" F").alias("temp"), {"temp": "type"}),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_in_its_column(fault: str) -> None:
    change, expected = PLANTED[fault]
    assert _faults(130, _week(130).with_columns(change)) == expected


def test_a_missing_column_and_repeated_rows_are_faults() -> None:
    assert _faults(130, _week(130).drop("sky")) == {"sky": "missing"}
    week = _week(130)
    assert _faults(130, pl.concat([week, week.head(len(week) // 2)]).sort("event_time"))["(rows)"] == "duplicates"


def test_a_fault_tells_its_first_bad_instant() -> None:
    week = _week(130)
    since = START + timedelta(days=133)
    change = pl.when(pl.col("event_time") >= since).then(None).otherwise(pl.col("wind")).alias("wind")
    served = YEAR.filter(pl.col("event_time") >= START + timedelta(days=60))
    found = faults(REFERENCE, history(REFERENCE, served, START + timedelta(days=130), {}), week.with_columns(change), length=WEEK)
    assert found[0].since == since


def test_rows_known_to_be_broken_do_not_count_as_the_past() -> None:
    broken = (START + timedelta(days=123), START + timedelta(days=130))
    inside = (pl.col("event_time") >= broken[0]) & (pl.col("event_time") < broken[1])
    served = YEAR.with_columns(pl.when(inside).then((pl.col("temp") - 32) / 1.8).otherwise(pl.col("temp")).alias("temp"))
    served = served.filter(pl.col("event_time") >= START + timedelta(days=60))
    past = history(REFERENCE, served, broken[1], {"temp": (broken,)})
    assert faults(REFERENCE, past, _week(130), length=WEEK) == ()


def test_a_window_with_a_quarter_of_the_usual_rows_is_a_fault() -> None:
    assert too_few_rows(250, [1000, 1000, 1100, 900]) is not None
    assert too_few_rows(250, [1000]) is None
    assert too_few_rows(800, [1000, 1000, 1100, 900]) is None
