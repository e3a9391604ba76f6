"""Quiet hours: spans of the week, such as ``22:00-06:00`` or ``Mon-Fri 08:00-18:00``, by the wall clock of a zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rung.core.errors import Invalid
from rung.pipelines.scheduling import zone_of

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"^(?:([A-Za-z,-]+) )?(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)$")
_DAY_MINUTES = 24 * 60
_LONGEST_DAYS = 8


@dataclass(frozen=True)
class Span:
    """Minutes of the day [start, end) on some weekdays; one that ends before it starts goes on into the next day."""

    days: frozenset[int]
    start: int
    end: int

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether a minute of a weekday lies in the span."""
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        return (weekday in self.days and minute >= self.start) or ((weekday - 1) % 7 in self.days and minute < self.end)


def spans(words: tuple[str, ...]) -> tuple[Span, ...]:
    """Spans from their words. Raises Invalid."""
    return tuple(_span(word) for word in words)


def quiet_until(words: tuple[str, ...], zone: str, at: datetime) -> datetime | None:
    """When the quiet hours that hold at an instant are over; None when it is not quiet. Raises Invalid."""
    held, place = spans(words), zone_of(zone)
    if not held:
        return None
    moment = at
    for _ in range(_LONGEST_DAYS * _DAY_MINUTES):
        local = moment.astimezone(place)
        if not any(span.holds(local.weekday(), local.hour * 60 + local.minute) for span in held):
            return None if moment == at else moment
        moment = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    return moment


def _span(word: str) -> Span:
    found = _SPAN.match(word.strip())
    if not found:
        raise _bad(word)
    start, end = _minute(word, found[2], found[3]), _minute(word, found[4], found[5])
    if start == end:
        raise _bad(word)
    return Span(days=_days(word, found[1]), start=start, end=end)


def _minute(word: str, hour: str, minute: str) -> int:
    value = int(hour) * 60 + int(minute)
    if int(minute) >= 60 or value > _DAY_MINUTES:  # noqa: PLR2004 - minutes of an hour
        raise _bad(word)
    return value


def _days(word: str, names: str | None) -> frozenset[int]:
    if not names:
        return frozenset(range(7))
    found: set[int] = set()
    for part in names.lower().split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last and last not in _DAYS):
            raise _bad(word)
        start, end = _DAYS.index(first), _DAYS.index(last or first)
        found |= {day % 7 for day in range(start, end + 1 + (7 if end < start else 0))}
    return frozenset(found)


def _bad(word: str) -> Invalid:
    return Invalid(
        f"{word!r} is not a span of quiet hours.",
        code="pipelines.bad_quiet",
        hint='Write "22:00-06:00", "Sat,Sun 00:00-24:00" or "Mon-Fri 08:00-18:00".',
    )
