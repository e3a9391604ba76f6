"""The clock: instants are aware UTC datetimes in records and integer microseconds in tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Tells the time; the platform holds the only one."""

    def now(self) -> datetime:
        """The current instant, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current instant, in UTC."""
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands still until it is moved; for tests."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        """The instant it was set to."""
        return self.at

    def advance(self, by: timedelta) -> None:
        """Move forward."""
        self.at += by


def to_micros(at: datetime) -> int:
    """Microseconds since 1970 of an aware instant."""
    since = at - EPOCH  # reckoned by hand: a division of timedeltas takes six times as long, and a page of runs has a thousand
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_micros(micros: int) -> datetime:
    """The UTC instant so many microseconds after 1970."""
    seconds, rest = divmod(micros, 1_000_000)
    return EPOCH + timedelta(0, seconds, rest)
