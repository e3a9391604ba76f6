"""Quiet hours are spans of the week by a wall clock, also on days on which that clock jumps."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rung.core.errors import Invalid
from rung.pipelines.quiet import quiet_until, spans


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "zone", "at", "until"),
    [
        (("22:00-06:00",), "UTC", "2026-03-28T23:00", "2026-03-29T06:00"),
        (("22:00-06:00",), "UTC", "2026-03-28T21:59", None),
        (("22:00-06:00",), "UTC", "2026-03-28T06:00", None),
        (("Mon-Fri 08:00-18:00",), "UTC", "2026-03-27T09:30", "2026-03-27T18:00"),  # a Friday
        (("Mon-Fri 08:00-18:00",), "UTC", "2026-03-28T09:30", None),
        (("Sat,Sun 00:00-24:00",), "UTC", "2026-03-28T09:30", "2026-03-30T00:00"),
        (("Fri-Mon 10:00-11:00",), "UTC", "2026-03-29T10:30", "2026-03-29T11:00"),  # Friday over the weekend to Monday
        (("Fri 22:00-06:00",), "UTC", "2026-03-28T03:00", "2026-03-28T06:00"),  # Friday's night, on Saturday
        (("Fri 22:00-06:00",), "UTC", "2026-03-29T03:00", None),
        (("08:00-12:00", "12:00-18:00"), "UTC", "2026-03-28T09:00", "2026-03-28T18:00"),
        (("22:00-06:00",), "America/New_York", "2026-03-28T03:00", "2026-03-28T10:00"),
        # Berlin springs from 02:00 to 03:00 at 01:00 UTC on 29 March: 06:00 there is 04:00 UTC
        (("22:00-06:00",), "Europe/Berlin", "2026-03-28T23:00", "2026-03-29T04:00"),
        # and falls from 03:00 to 02:00 at 01:00 UTC on 25 October: the span that ends at 02:30 ends the second time
        (("01:00-02:30",), "Europe/Berlin", "2026-10-25T00:10", "2026-10-25T00:30"),
    ],
)
def test_quiet_hours_end_when_they_end(words: tuple[str, ...], zone: str, at: str, until: str | None) -> None:
    assert quiet_until(words, zone, utc(at)) == (utc(until) if until else None)


@pytest.mark.parametrize("word", ["", "night", "25:00-26:00", "08:00-08:00", "08:60-09:00", "Moon 08:00-09:00", "Mon- 08:00-09:00:00"])
def test_what_is_no_span_is_refused_with_an_example(word: str) -> None:
    with pytest.raises(Invalid, match="quiet hours") as caught:
        spans((word,))
    assert caught.value.code == "pipelines.bad_quiet"
    assert repr(word) in caught.value.message


def test_hours_that_never_end_are_looked_at_again_after_a_week() -> None:
    found = quiet_until(("00:00-24:00",), "UTC", utc("2026-03-28T09:00"))
    assert found is not None
    assert found > utc("2026-04-04T00:00")
