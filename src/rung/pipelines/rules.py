"""Decisions of pipelines: when a trigger may fire, when a schedule fires next, what changed between two cache keys."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rung.core.digests import digest_of_value
from rung.core.errors import Invalid
from rung.pipelines.records import CatchUp, Likeness, OutputComparison, Trigger

_MOST_MISSED = 100
KEY_PARTS = ("code", "params", "inputs", "environment", "seed", "salt")
_WORDS = {
    "code": "its code, or code it calls, changed",
    "params": "its parameters changed",
    "inputs": "its inputs changed",
    "environment": "the libraries or the Python version changed",
    "seed": "the seed changed",
    "salt": "its salt changed",
}


def cache_key(step: str, parts: Mapping[str, Any]) -> str:
    """The key of a step's outputs: over its name and every part that could make them others."""
    return digest_of_value([step, [parts[name] for name in KEY_PARTS]])


def changed_parts(now: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    """Why a step must run, in words, against the parts of its newest cached execution."""
    if before is None:
        return "it has no earlier result"
    changed = [_WORDS[name] for name in KEY_PARTS if now[name] != before.get(name)]
    return " and ".join(changed) or "its result was not kept"


def why_not_cached(*, declared: bool, wished: bool, unsure: tuple[str, ...]) -> str:
    """Why the cache is not asked for a step; empty when it is."""
    if not declared:
        return "Ran: the step is declared cache=False."
    if not wished:
        return "Ran: the run was started without the cache."
    return f"Ran: it cannot be told whether {', '.join(unsure)} changed."[:1000] if unsure else ""


def next_fire(cron: str, zone: str, after: datetime) -> datetime:
    """The first fire time of a schedule after an instant. Raises Invalid for a bad expression or zone."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - only where a schedule is

    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid(
            f"There is no time zone {zone!r}.", code="pipelines.bad_zone", hint="Write one such as Europe/Berlin or UTC."
        ) from None
    try:
        return next(CronSim(cron, after.astimezone(place))).astimezone(UTC)
    except CronSimError as error:
        raise Invalid(
            f"{cron!r} is not a schedule: {error}.", code="pipelines.bad_cron", hint='Write five fields, such as "0 6 * * 1".'
        ) from None
    except StopIteration:
        raise Invalid(f"{cron!r} never fires.", code="pipelines.bad_cron", hint="Correct day and month.") from None


def missed_fires(trigger: Trigger, now: datetime) -> tuple[list[datetime], datetime]:
    """Fire times of a schedule that have come and are to be kept, and the next one, by its catch-up rule.

    ``all`` keeps each (at most a hundred), ``last`` the newest, ``none`` only one that is less than a minute old.
    """
    if trigger.next_fire is None:
        return [], next_fire(trigger.cron, trigger.zone, now)
    come: list[datetime] = []
    following = trigger.next_fire
    while following <= now and len(come) < _MOST_MISSED:
        come.append(following)
        following = next_fire(trigger.cron, trigger.zone, following)
    if following <= now:
        following = next_fire(trigger.cron, trigger.zone, now)
    return kept(come, trigger.catch_up, now), following


def kept(come: list[datetime], rule: CatchUp, now: datetime) -> list[datetime]:
    """Which of the fire times that have come are acted upon."""
    if rule == "all":
        return come
    if rule == "last":
        return come[-1:]
    return [at for at in come[-1:] if now - at < timedelta(minutes=1)]


def held_back(trigger: Trigger, now: datetime) -> str:
    """Why a trigger must not fire now; empty when it may."""
    if trigger.paused:
        return "It is paused."
    if trigger.last_fired_at is not None:
        free = trigger.last_fired_at + timedelta(seconds=trigger.cooldown_s)
        if now < free:
            return f"It cools down until {free.isoformat(timespec='seconds')}."
    return ""


def answers(trigger: Trigger, subject: str) -> bool:
    """Whether a trigger listens to a subject."""
    return trigger.subject in {"*", subject}


_ORDER: tuple[Likeness, ...] = ("identical", "equivalent", "different")


def least_alike(comparisons: tuple[OutputComparison, ...]) -> Likeness:
    """The verdict over all outputs: that of the least alike."""
    return max((c.likeness for c in comparisons), key=_ORDER.index, default="identical")


def first_diverging(comparisons: tuple[OutputComparison, ...]) -> str:
    """The first step, in the order of the plan, with an output that is not identical; empty when all are."""
    return next((c.step for c in comparisons if c.likeness != "identical"), "")
