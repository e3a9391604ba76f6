"""Guard rails are pure: the same case gives the same answer, with every figure it was held against."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.pipelines.guarding import Answer, Case, answer, checks, period_end, period_start
from rung.pipelines.trigger_family import met, not_met
from rung.pipelines.triggering import Figures, Guards, LabelFigures, Period, SpendFigures, Trigger

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def trigger(*, paused: bool = False, **guards: object) -> Trigger:
    held = Guards(**guards)  # type: ignore[arg-type]
    return Trigger(id="0" * 32, name="t", pipeline="train", kind="manual", guards=held, paused=paused, created_at=NOW, created_by="ada")


def labels(rows: int, labelled: int, *, ended: timedelta = timedelta(0)) -> Figures:
    end = NOW - ended
    return Figures(labels=LabelFigures(deployment="flights", start=end - 24 * HOUR, end=end, as_of=NOW, rows=rows, labelled=labelled))


def spend(spent: float, estimate: float) -> Figures:
    return Figures(spend=SpendFigures(since=NOW, spent=spent, estimate=estimate, currency="EUR"))


def case(**known: object) -> Case:
    return Case(as_of=NOW, now=NOW, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("held", "known", "told"),
    [
        (trigger(paused=True), case(), "Trigger t is paused."),
        (
            trigger(cooldown_s=3600.0), case(last_started=NOW - HOUR / 2),
            "It cools down until 2026-03-28T12:30:00Z: the last start was 2026-03-28T11:30:00Z.",
        ),
        (trigger(most=2, most_period="week"), case(started=2), "It has started 2 of at most 2 runs this week, which ends 2026-03-30T00:00:00Z."),
        (
            trigger(min_labelled=0.8, min_labels=950), case(figures=labels(1000, 900)),
            "900 of 1000 predictions of flights from 2026-03-27T12:00:00Z to 2026-03-28T12:00:00Z have a label (90%); 950 labels are asked for.",
        ),
        (
            trigger(min_label_age_s=86_400.0), case(figures=labels(10, 10, ended=HOUR)),
            "10 of 10 predictions of flights from 2026-03-27T11:00:00Z to 2026-03-28T11:00:00Z have a label (100%); "
            "the period must have ended 1 d ago.",
        ),
        (trigger(min_labels=1), case(), "How many labels have arrived is not known: nobody has looked"),
        (trigger(min_labelled=0.5), case(figures=labels(0, 0)), None),
        (
            trigger(budget=10.0), case(figures=spend(8.0, 2.5)),
            "8.00 EUR are spent this month, one more run takes about 2.50; the budget is 10.00.",
        ),
        (trigger(budget=10.0), case(figures=Figures(missing={"spend": "no ledger"})), "What has been spent is not known: no ledger"),
        (trigger(quiet=("11:00-13:00",)), case(), "These are quiet hours (11:00-13:00 in UTC), until 2026-03-28T13:00:00Z."),
        (trigger(concurrency="skip"), case(active=("train:7",)), "Pipeline train is busy with train:7."),
    ],
)  # fmt: skip
def test_a_guard_rail_holds_back_and_says_with_which_figures(held: Trigger, known: Case, told: str | None) -> None:
    given = answer(held, (met("why"), *checks(held, known)), "why", known, asked_at=NOW)
    assert given.outcome == "held_back"
    assert told is None or given.reason == told


@pytest.mark.parametrize(
    ("held", "known"),
    [
        (trigger(), case()),
        (trigger(cooldown_s=3600.0), case(last_started=NOW - HOUR)),
        (trigger(cooldown_s=3600.0), case()),
        (trigger(most=2), case(started=1)),
        (trigger(min_labelled=0.9, min_labels=900, min_label_age_s=60.0), case(figures=labels(1000, 900, ended=HOUR))),
        (trigger(budget=10.0), case(figures=spend(7.5, 2.5))),
        (trigger(quiet=("12:30-13:00",)), case()),
        (trigger(concurrency="skip"), case()),
        (trigger(approval=True), case(approved_by="ada")),
    ],
)
def test_a_guard_rail_that_is_kept_lets_pass_and_tells_its_figures_too(held: Trigger, known: Case) -> None:
    found = checks(held, known)
    assert answer(held, (met("why"), *found), "why", known, asked_at=NOW) == Answer(outcome="fired", reason="why")
    assert all(check.passed and check.statement for check in found)


def test_all_reasons_are_told_together() -> None:
    held, known = trigger(most=1, cooldown_s=3600.0, quiet=("11:00-13:00",)), case(started=1, last_started=NOW - HOUR / 2)
    given = answer(held, (met("why"), *checks(held, known)), "why", known, asked_at=NOW)
    assert [word in given.reason for word in ("cools down", "at most 1", "quiet hours")] == [True] * 3


def test_a_condition_that_is_not_met_is_no_matter_of_guard_rails() -> None:
    held = trigger(paused=True, dry=True)
    assert answer(held, (not_met("Too few rows."),), "why", case(), asked_at=NOW) == Answer(outcome="not_met", reason="Too few rows.")


def test_patience_waits_as_long_as_the_reason_lasts_and_no_longer_than_it_is_given() -> None:
    held, known = trigger(cooldown_s=3600.0, patience_s=7200.0), case(last_started=NOW - HOUR / 2)
    found = (met("why"), *checks(held, known))
    waiting = answer(held, found, "why", known, asked_at=NOW)
    assert (waiting.outcome, waiting.due_at, waiting.give_up_at) == ("waiting", NOW + HOUR / 2, NOW + 2 * HOUR)
    given_up = answer(held, found, "why", known, asked_at=NOW - 2 * HOUR)
    assert (given_up.outcome, given_up.reason[:38]) == ("held_back", "It waited until 2026-03-28T12:00:00Z. ")


def test_a_pause_is_not_waited_for() -> None:
    held = trigger(paused=True, patience_s=7200.0)
    assert answer(held, (met("why"), *checks(held, case())), "why", case(), asked_at=NOW).outcome == "held_back"


def test_approval_is_waited_for_without_patience_but_nothing_else_is() -> None:
    alone, quiet = trigger(approval=True), trigger(approval=True, quiet=("11:00-13:00",))
    assert answer(alone, (met("why"), *checks(alone, case())), "why", case(), asked_at=NOW).outcome == "waiting"
    assert answer(quiet, (met("why"), *checks(quiet, case())), "why", case(), asked_at=NOW).outcome == "held_back"


@pytest.mark.parametrize(
    ("period", "zone", "at", "start", "end"),
    [
        ("hour", "UTC", "2026-03-28T12:30", "2026-03-28T12:00", "2026-03-28T13:00"),
        ("hour", "Asia/Kolkata", "2026-03-28T12:15", "2026-03-28T11:30", "2026-03-28T12:30"),
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours long
        ("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),  # 25 hours long
        ("week", "UTC", "2026-03-29T23:59", "2026-03-23T00:00", "2026-03-30T00:00"),
        ("month", "UTC", "2028-02-29T12:00", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("month", "America/New_York", "2026-04-01T03:00", "2026-03-01T05:00", "2026-04-01T04:00"),
        ("year", "UTC", "2028-12-31T23:59", "2028-01-01T00:00", "2029-01-01T00:00"),
    ],
)
def test_periods_are_those_of_the_calendar_in_the_zone(period: Period, zone: str, at: str, start: str, end: str) -> None:
    assert (period_start(period, zone, utc(at)), period_end(period, zone, utc(at))) == (utc(start), utc(end))


@given(
    st.datetimes(datetime(1975, 1, 1), datetime(2035, 1, 1)), st.sampled_from(["hour", "day", "week", "month", "year"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Auckland"]),
)  # fmt: skip
def test_every_instant_lies_in_its_period_and_its_end_begins_the_next(at: datetime, period: Period, zone: str) -> None:
    moment = at.replace(tzinfo=UTC)
    start, end = period_start(period, zone, moment), period_end(period, zone, moment)
    assert start <= moment < end
    if period != "hour":
        assert period_start(period, zone, end) == end
    assert period_start(period, zone, start) == start or period == "hour"
