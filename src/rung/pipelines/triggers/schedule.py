"""Called by time."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from rung.core.records import Instant, Line, Record
from rung.pipelines.trigger_family import TRIGGERS, Example, Past, TriggerMember, met
from rung.pipelines.triggering import CatchUp, TriggerCheck


class Options(Record):
    """Five cron fields read in ``zone``; ``catch_up`` says what becomes of times missed while nothing ran.

    ``jitter_s`` is the most by which a start is put off, so that many schedules of one minute do not start at once.
    """

    cron: Annotated[str, Meta(min_length=9, max_length=250)]
    zone: Line = "UTC"
    catch_up: CatchUp = "last"
    jitter_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0


class Facts(Record):
    """The planned time, and the one before it: together the period that a run is about."""

    fire_time: Instant
    start: Instant
    end: Instant
    as_of: Instant


@TRIGGERS.member("schedule")
class Schedule(TriggerMember[Options, Facts]):
    """Started by a cron expression in a time zone."""

    word = "cron"
    options = Options
    facts = Facts
    by_name = ("as_of",)
    example = Example(
        options={"cron": "0 6 * * *", "zone": "Europe/Berlin"},
        met={
            "fire_time": "2026-03-02T05:00:00Z",
            "start": "2026-03-01T05:00:00Z",
            "end": "2026-03-02T05:00:00Z",
            "as_of": "2026-03-02T05:00:00Z",
        },
    )

    @classmethod
    def condition(cls, options: Options, facts: Facts, past: Past[Facts]) -> TriggerCheck:
        """Always met: the time has come."""
        return met(f"Its time came: {options.cron} in {options.zone}.")
