"""Schedules keep their zone, and triggers their manners."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rung.core.errors import Invalid
from rung.pipelines.records import Trigger
from rung.pipelines.rules import cache_key, changed_parts, held_back, missed_fires, next_fire

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
PARTS = {"code": "c", "params": {}, "inputs": {}, "environment": "e", "seed": 1, "salt": ""}


def _trigger(**changes: object) -> Trigger:
    plain = {
        "id": "0" * 32,
        "name": "t",
        "pipeline": "p",
        "kind": "schedule",
        "params": {},
        "cooldown_s": 0.0,
        "paused": False,
        "created_at": NOW,
        "created_by": "owner",
        "cron": "0 * * * *",
        "next_fire": NOW,
    }
    return Trigger(**{**plain, **changes})  # type: ignore[arg-type]


def test_a_schedule_is_read_in_its_zone() -> None:
    # 06:00 in Berlin is 05:00 UTC in winter and, after the night of 28 March 2026, 04:00 UTC in summer
    assert next_fire("0 6 * * *", "Europe/Berlin", datetime(2026, 3, 27, 12, tzinfo=UTC)) == datetime(2026, 3, 28, 5, tzinfo=UTC)
    assert next_fire("0 6 * * *", "Europe/Berlin", NOW) == datetime(2026, 3, 29, 4, tzinfo=UTC)


def test_the_hour_that_comes_twice_fires_once_a_day() -> None:
    # 25 October 2026: 02:30 in Berlin happens at 00:30 and 01:30 UTC
    first = next_fire("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC))
    second = next_fire("30 2 * * *", "Europe/Berlin", first)
    assert second - first >= timedelta(hours=24)


@pytest.mark.parametrize(("cron", "zone"), [("often", "UTC"), ("0 6 * * *", "Europe/Atlantis"), ("0 0 30 2 *", "UTC")])
def test_a_schedule_that_cannot_be_is_refused(cron: str, zone: str) -> None:
    with pytest.raises(Invalid):
        next_fire(cron, zone, NOW)


@pytest.mark.parametrize(("rule", "count"), [("all", 4), ("last", 1), ("none", 1)])
def test_missed_fire_times_follow_the_catch_up_rule(rule: str, count: int) -> None:
    come, following = missed_fires(_trigger(catch_up=rule), NOW + timedelta(hours=3))
    assert (len(come), following) == (count, NOW + timedelta(hours=4))


def test_without_catch_up_an_old_fire_time_is_let_go() -> None:
    assert missed_fires(_trigger(catch_up="none"), NOW + timedelta(minutes=30))[0] == []


def test_a_trigger_is_held_back_while_it_cools_down_or_is_paused() -> None:
    assert held_back(_trigger(cooldown_s=3600.0, last_fired_at=NOW), NOW + timedelta(minutes=59)).startswith("It cools down")
    assert held_back(_trigger(cooldown_s=3600.0, last_fired_at=NOW), NOW + timedelta(hours=1)) == ""
    assert held_back(_trigger(paused=True), NOW) == "It is paused."


def test_every_part_of_a_cache_key_counts() -> None:
    keys = {cache_key("s", {**PARTS, name: "other"}) for name in PARTS} | {cache_key("s", PARTS), cache_key("t", PARTS)}
    assert len(keys) == len(PARTS) + 2


def test_the_reason_names_what_changed() -> None:
    assert changed_parts({**PARTS, "inputs": {"x": 1}}, PARTS) == "its inputs changed"
    assert changed_parts(PARTS, None) == "it has no earlier result"
