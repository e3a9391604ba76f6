"""Schedules keep their zone through every change of clocks, and missed times follow the catch-up rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from rung.core.errors import Invalid
from rung.pipelines.scheduling import due_at, fire_times, missed, next_fire, strayed

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def times(cron: str, zone: str, after: str, count: int) -> list[str]:
    return [at.strftime("%m-%d %H:%M") for at in islice(fire_times(cron, zone, utc(after)), count)]


def test_a_schedule_is_read_in_its_zone() -> None:
    # 06:00 in Berlin is 05:00 UTC in winter and, after the night of 28 March 2026, 04:00 UTC in summer
    assert times("0 6 * * *", "Europe/Berlin", "2026-03-27T12:00", 3) == ["03-28 05:00", "03-29 04:00", "03-30 04:00"]


def test_the_hour_that_does_not_exist_fires_once_at_the_first_moment_after_it() -> None:
    # 29 March 2026: Berlin goes from 02:00 to 03:00, which is 01:00 UTC
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2) == ["03-29 01:00", "03-30 00:30"]


def test_the_hour_that_comes_twice_fires_once_a_day() -> None:
    # 25 October 2026: 02:30 in Berlin happens at 00:30 and again at 01:30 UTC
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == ["10-25 00:30", "10-26 01:30"]


def test_an_hourly_schedule_goes_by_elapsed_time_on_both_days() -> None:
    assert times("0 * * * *", "Europe/Berlin", "2026-03-28T23:30", 4) == ["03-29 00:00", "03-29 01:00", "03-29 02:00", "03-29 03:00"]
    assert times("0 * * * *", "Europe/Berlin", "2026-10-24T23:30", 4) == ["10-25 00:00", "10-25 01:00", "10-25 02:00", "10-25 03:00"]


def test_half_an_hour_of_daylight_saving_is_kept_too() -> None:
    # Lord Howe Island moves by 30 minutes: on 4 October 2026 02:00 becomes 02:30 (UTC+10:30 to UTC+11)
    assert times("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T20:00", 2) == ["10-03 15:30", "10-04 15:15"]


def test_the_leap_day_fires_in_leap_years_only() -> None:
    found = [at.year for at in islice(fire_times("0 12 29 2 *", "UTC", NOW), 3)]
    assert found == [2028, 2032, 2036]


def test_going_backwards_finds_the_same_times() -> None:
    start, end = utc("2026-03-27T00:00"), utc("2026-04-02T00:00")
    forth = [at for at in islice(fire_times("30 2 * * *", "Europe/Berlin", start), 20) if at < end]
    back = [at for at in islice(fire_times("30 2 * * *", "Europe/Berlin", end, backwards=True), 20) if at > start]
    assert forth == back[::-1]


@pytest.mark.parametrize(
    ("cron", "zone", "code"),
    [
        ("often", "UTC", "pipelines.bad_cron"),
        ("0 6 * * *", "Europe/Atlantis", "pipelines.bad_zone"),
        ("0 6 * * *", "../etc/passwd", "pipelines.bad_zone"),
        ("0 6 * * *", "", "pipelines.bad_zone"),
        ("0 0 30 2 *", "UTC", "pipelines.bad_cron"),
        ("0 0 6 * * *", "UTC", "pipelines.bad_cron"),
        ("61 * * * *", "UTC", "pipelines.bad_cron"),
        ("*/0 * * * *", "UTC", "pipelines.bad_cron"),
        ("0 0 ١ * *", "UTC", "pipelines.bad_cron"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(cron: str, zone: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        next_fire(cron, zone, NOW)
    assert caught.value.code == code
    assert (cron if code.endswith("cron") else repr(zone)) in caught.value.message


@pytest.mark.parametrize(("rule", "kept"), [("all", 4), ("last", 1), ("none", 1)])
def test_missed_fire_times_follow_the_catch_up_rule(rule: str, kept: int) -> None:
    found = missed("0 * * * *", "UTC", NOW, NOW + 3 * HOUR, rule)  # type: ignore[arg-type]
    assert len(found.kept) == kept
    assert found.kept[-1] == NOW + 3 * HOUR
    assert found.let_go == 4 - kept
    assert found.following == NOW + 4 * HOUR


def test_without_catch_up_an_old_fire_time_is_let_go() -> None:
    found = missed("0 * * * *", "UTC", NOW, NOW + HOUR / 2, "none")
    assert (found.kept, found.let_go, found.following) == ((), 1, NOW + HOUR)


def test_of_ten_thousand_missed_times_the_newest_hundred_are_kept() -> None:
    found = missed("0 * * * *", "UTC", NOW, NOW + 9_999 * HOUR, "all")
    assert len(found.kept) == 100
    assert found.kept == tuple(NOW + hours * HOUR for hours in range(9_900, 10_000))
    assert (found.let_go, found.more) == (9_900, False)
    assert found.following == NOW + 10_000 * HOUR


@pytest.mark.parametrize("rule", ["all", "last"])
def test_years_of_missed_minutes_are_not_counted_one_by_one(rule: str) -> None:
    now = NOW + timedelta(days=3650)
    found = missed("* * * * *", "UTC", NOW, now, rule)  # type: ignore[arg-type]
    assert found.kept[-1] == now
    assert found.more
    assert found.let_go >= 19_000
    assert found.following == now + timedelta(minutes=1)


def test_nothing_is_missed_before_it_is_due() -> None:
    found = missed("0 * * * *", "UTC", NOW + HOUR, NOW, "all")
    assert (found.kept, found.let_go, found.following) == ((), 0, NOW + HOUR)


def test_jitter_puts_off_by_the_same_time_whenever_it_is_asked() -> None:
    delays = [(due_at(f"{n:032x}", NOW, 300.0) - NOW).total_seconds() for n in range(200)]
    assert delays == [(due_at(f"{n:032x}", NOW, 300.0) - NOW).total_seconds() for n in range(200)]
    assert 0 <= min(delays) < 30
    assert 270 < max(delays) < 300
    assert due_at("0" * 32, NOW, 0.0) == NOW


def test_a_schedule_that_a_fast_clock_has_moved_is_brought_back() -> None:
    assert strayed("0 * * * *", "UTC", NOW + timedelta(days=3650), NOW) == NOW + HOUR
    assert strayed("0 * * * *", "UTC", NOW + HOUR, NOW) is None
    assert strayed("0 * * * *", "UTC", NOW - HOUR, NOW) is None
