"""Times of schedules: when a cron expression fires in its zone, and which of the times that were missed still count.

Days on which clocks change follow Debian's cron: a job of a fixed hour runs once, at the first moment after the hour that
does not exist, and the first time of the hour that comes twice; jobs of every hour or minute run by elapsed time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rung.core.errors import Invalid
from rung.pipelines.triggering import CatchUp

MOST_KEPT = 100
_MOST_COUNTED = 20_000
_FIELDS = 5
_FRESH = timedelta(minutes=1)


@dataclass(frozen=True)
class Missed:
    """Fire times that have come: those that count, and how many were let go, from when to when."""

    kept: tuple[datetime, ...]
    let_go: int
    first: datetime | None
    last: datetime | None
    following: datetime
    more: bool = False


def zone_of(name: str) -> ZoneInfo:
    """A time zone by name. Raises Invalid."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid(
            f"There is no time zone {name!r}.", code="pipelines.bad_zone", hint="Write one such as Europe/Berlin or UTC."
        ) from None


def fire_times(cron: str, zone: str, after: datetime, *, backwards: bool = False) -> Iterator[datetime]:
    """Fire times after an instant, or before it, in UTC. Raises Invalid for a bad expression or zone."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - only where a schedule is

    place = zone_of(zone)
    if len(cron.split()) != _FIELDS:
        raise Invalid(
            f"{cron!r} is not a schedule: it has {len(cron.split())} fields.",
            code="pipelines.bad_cron",
            hint='Write five fields, minute hour day month weekday, such as "0 6 * * 1".',
        )
    try:
        times = CronSim(cron, after.astimezone(place), reverse=backwards)
    except (CronSimError, AssertionError, ValueError, IndexError) as error:
        raise Invalid(
            f"{cron!r} is not a schedule: {error or 'a field cannot be read'}.",
            code="pipelines.bad_cron",
            hint='Write five fields, such as "0 6 * * 1".',
        ) from None
    for at in times:
        yield at.astimezone(UTC)


def next_fire(cron: str, zone: str, after: datetime) -> datetime:
    """The first fire time of a schedule after an instant. Raises Invalid for a bad expression or zone."""
    for at in fire_times(cron, zone, after):
        return at
    raise Invalid(f"{cron!r} never fires.", code="pipelines.bad_cron", hint="Correct day and month.")


def due_at(trigger: str, fire_time: datetime, jitter_s: float) -> datetime:
    """When a fire time is acted upon: up to ``jitter_s`` later, always the same for the same trigger and time."""
    if not jitter_s:
        return fire_time
    drawn = int.from_bytes(blake2b(f"{trigger} {fire_time.isoformat()}".encode(), digest_size=8).digest(), "big")
    return fire_time + timedelta(seconds=round(jitter_s * drawn / 2**64, 3))


def missed(cron: str, zone: str, due: datetime, now: datetime, rule: CatchUp, *, jitter_s: float = 0.0) -> Missed:
    """Fire times from ``due`` on that have come by ``now``, under a catch-up rule.

    ``all`` keeps the newest hundred, ``last`` the newest, ``none`` only one that is less than a minute (and its jitter) old.
    Counting stops at 20,000; then ``more`` is set and ``let_go`` is a lower bound.
    """
    keep = MOST_KEPT if rule == "all" else 1
    newest: deque[datetime] = deque(maxlen=keep)
    count, following = 0, due
    for at in fire_times(cron, zone, due - timedelta(seconds=1)):
        following = at
        if at > now or count >= _MOST_COUNTED:
            break
        newest.append(at)
        count += 1
    more = following <= now
    if more:
        newest.clear()
        for at in fire_times(cron, zone, now + timedelta(seconds=1), backwards=True):
            if len(newest) == keep:
                break
            if at <= now:
                newest.appendleft(at)
        following = next_fire(cron, zone, now)
    kept = tuple(newest)
    if rule == "none":
        kept = tuple(at for at in kept if now - at < _FRESH + timedelta(seconds=jitter_s))
    let_go = count - len(kept)
    return Missed(
        kept=kept, let_go=let_go, first=due if let_go else None, last=(kept[0] if kept else following) if let_go else None,
        following=following, more=more,
    )  # fmt: skip


def strayed(cron: str, zone: str, stored: datetime, now: datetime) -> datetime | None:
    """The right next fire time when the stored one lies beyond it: a clock that was ahead has moved it there. Else None."""
    right = next_fire(cron, zone, now)
    return right if stored > right else None
