from __future__ import annotations

import numpy as np
import pytest

from rung.stats.breaks import DAY, Past, Series, unit_break
from rung.stats.conversions import CONVERSIONS

HOUR = DAY // 24
START = 15_700 * DAY


def _weather(days: int, *, first: int = 0, grid: float | None = 0.18, seed: int = 0) -> Series:
    """Four rows an hour of degrees Fahrenheit with a season, weather of some days and a daily cycle."""
    generator = np.random.default_rng(seed)
    hours = np.arange(first * 24, (first + days) * 24, 0.25)
    spells = np.repeat(generator.normal(0, 3, size=days), 96)
    values = (
        50
        + 25 * np.sin(2 * np.pi * hours / 24 / 365 - 1.2)
        + 6 * np.sin(2 * np.pi * hours / 24)
        + spells
        + generator.normal(0, 1, hours.size)
    )
    if grid:
        values = np.round((values - 32) / grid) * grid + 32
    return Series((START + hours * HOUR).astype(np.int64), values)


def _celsius(rows: Series) -> Series:
    return Series(rows.times, (rows.values - 32) / 1.8)


@pytest.mark.parametrize("day", [60, 100, 150, 200, 250, 300])
@pytest.mark.parametrize("grid", [0.18, None])
def test_a_week_in_celsius_is_found_in_every_season(day: int, grid: float | None) -> None:
    year = _weather(365, grid=grid)
    past, week = year.between(START, START + day * DAY), year.between(START + day * DAY, START + (day + 7) * DAY)
    found = unit_break(Past(past), _celsius(week))
    assert found is not None
    if grid:
        assert (found.conversion.delivered, found.conversion.meant) == ("°C", "°F")
    assert found.start == week.times[0]


@pytest.mark.parametrize("day", range(60, 350, 7))
def test_no_natural_week_is_called_a_wrong_unit(day: int) -> None:
    year = _weather(365)
    assert unit_break(Past(year.between(START, START + day * DAY)), year.between(START + day * DAY, START + (day + 7) * DAY)) is None


def test_the_first_bad_instant_lies_inside_the_window() -> None:
    year = _weather(365)
    window = year.between(START + 200 * DAY, START + 230 * DAY)
    bad = (window.times >= START + 209 * DAY) & (window.times < START + 216 * DAY)
    mixed = Series(window.times, np.where(bad, (window.values - 32) / 1.8, window.values))
    found = unit_break(Past(year.between(START, START + 200 * DAY)), mixed)
    assert found is not None
    assert found.start == START + 209 * DAY
    assert abs(found.end - (START + 216 * DAY)) <= HOUR


def test_columns_without_a_spread_or_rows_are_never_broken_units() -> None:
    flat = Series(START + np.arange(1000) * HOUR, np.ones(1000))
    assert unit_break(Past(flat), flat) is None
    assert unit_break(Past(flat), Series(np.empty(0, dtype=np.int64), np.empty(0))) is None
    assert unit_break(Past(Series(np.empty(0, dtype=np.int64), np.empty(0))), flat) is None


def test_every_conversion_has_one_that_undoes_it() -> None:
    values = np.array([1.0, 20.0, -3.0])
    for conversion in CONVERSIONS:
        assert any(np.allclose(other.restore(conversion.restore(values)), values) for other in CONVERSIONS), conversion
