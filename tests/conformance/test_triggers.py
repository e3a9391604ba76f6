"""What every kind of trigger must keep to, built in or brought along, on each database engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from rung.app.local import LocalTransport
from rung.app.opening import open_platform
from rung.client.client import Client
from rung.core.clock import FixedClock
from rung.core.errors import Invalid, NotFound, RungError
from rung.core.records import decoded
from rung.core.settings import Settings
from rung.engine.records import CallTriggers, ReconsiderFires
from rung.pipelines.records import ParamSpec, PipelineInfo, RegisterPipelines, RunPipeline
from rung.pipelines.trigger_family import TRIGGERS
from rung.pipelines.triggering import AddTrigger, Guards, ListTriggers, Signal, Trigger, TriggerFire

START = datetime(2026, 3, 10, 12, tzinfo=UTC)
KINDS = TRIGGERS.names()
GUARDS: dict[str, dict[str, Any]] = {
    "most": {"most": 1, "most_period": "year"},
    "cooldown": {"cooldown_s": 86_400.0},
    "labels": {"min_labels": 10, "label_deployment": "flights"},
    "budget": {"budget": 0.0, "budget_model": "late"},
    "quiet": {"quiet": ("00:00-24:00",)},
    "concurrency": {"concurrency": "skip"},
}


class Bench:
    """A platform with one pipeline, a clock that is moved by hand, and calls of any kind."""

    def __init__(self, settings: Settings) -> None:
        self.clock = FixedClock(START)
        platform, first = open_platform(settings, self.clock)
        self.transport = LocalTransport(platform, token=first.secret if first else "")
        self.client = Client(self.transport)
        known = (PipelineInfo(name="train", target="m:train", doc="", code="", seen_at=START, steps=(), params=_PARAMS),)
        self.transport.call(RegisterPipelines(pipelines=known))

    def add(self, kind: str, **more: Any) -> Trigger:
        """A trigger of a kind, with its example's options."""
        guards = decoded(more.pop("guards", {}), Guards)
        subject = "flights" if TRIGGERS.get(kind).about else "*"
        wish = AddTrigger(
            name=kind, pipeline="train", kind=kind, subject=subject, options=TRIGGERS.get(kind).example.options, guards=guards, **more
        )
        return self.transport.call(wish)

    def call(self, kind: str, cause: str = "c1", *, unmet: bool = False, as_of: datetime | None = None) -> TriggerFire:
        """Call upon it with its example's facts."""
        example = TRIGGERS.get(kind).example
        facts = example.unmet if unmet else example.met
        signal = Signal(kind=kind, subject="flights", cause=cause, facts=facts or {}, as_of=as_of)
        (fire,) = self.transport.call(CallTriggers(signal=signal))
        return fire

    def runs(self) -> int:
        """How many runs were started."""
        return len(self.client.pipelines.runs("train").items)


_PARAMS = (
    ParamSpec(name="rows", type="int", required=False, default=1),
    ParamSpec(name="deployment", type="str", required=False, default=""),
)


@pytest.fixture
def bench(any_settings: Settings) -> Iterator[Bench]:
    made = Bench(any_settings)
    yield made
    made.client.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_fires_once_per_cause_however_often_it_is_told(bench: Bench, kind: str) -> None:
    bench.add(kind)
    first, again, other = bench.call(kind), bench.call(kind), bench.call(kind, "c2")
    assert first.outcome == "fired", first.reason
    assert first.reason
    assert first.pipeline_run
    assert again == first
    assert (other.outcome, other.pipeline_run == first.pipeline_run) == ("fired", False)
    assert bench.runs() == 2
    run = bench.client.pipelines.get(str(first.pipeline_run)).run
    assert (run.cause.kind, run.cause.trigger) == (kind, first.trigger)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if TRIGGERS.get(kind).example.unmet is not None])
def test_a_cause_that_does_not_meet_the_condition_is_recorded_and_may_meet_it_later(bench: Bench, kind: str) -> None:
    bench.add(kind)
    before = bench.call(kind, unmet=True)
    assert (before.outcome, before.pipeline_run, bench.runs()) == ("not_met", None, 0)
    assert before.checks[0].guard == "condition"
    after = bench.call(kind)
    assert (after.outcome, after.id) == ("fired", before.id)
    assert bench.call(kind, unmet=True) == after  # what fired has fired


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_guard_rail_holds_every_kind_back(settings: Settings, kind: str, guard: str) -> None:
    bench = Bench(settings)
    bench.add(kind, guards=GUARDS[guard])
    if guard in {"most", "cooldown"}:
        assert bench.call(kind, "c0").outcome == "fired"
    elif guard == "concurrency":
        bench.transport.call(RunPipeline(pipeline="train"))
    elif guard == "budget":
        bench.client.value.add_cost("late", "people", amount=1.0, note="a day's work", spent_at=START)
    started = bench.runs()
    held = bench.call(kind)
    assert bench.runs() == started
    bench.client.close()
    assert (held.outcome, held.pipeline_run) == ("held_back", None), held.reason
    failed = [check for check in held.checks if not check.passed]
    assert [check.guard for check in failed] == [guard]
    assert held.reason == failed[0].statement


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_says_what_it_would_do_and_starts_nothing(bench: Bench, kind: str) -> None:
    bench.add(kind, guards={"dry": True, "most": 1})
    first, second = bench.call(kind), bench.call(kind, "c2")
    assert [(fire.outcome, fire.would) for fire in (first, second)] == [("dry", "fired"), ("dry", "held_back")]
    assert bench.runs() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_paused_trigger_records_that_it_is_paused(bench: Bench, kind: str) -> None:
    bench.add(kind)
    bench.client.triggers.pause(kind)
    assert bench.call(kind).outcome == "held_back"
    bench.client.triggers.resume(kind)
    assert bench.call(kind).outcome == "held_back"  # the cause was answered
    assert bench.call(kind, "c2").outcome == "fired"


@pytest.mark.parametrize("kind", KINDS)
def test_approval_starts_what_waits_and_refusal_does_not(bench: Bench, kind: str) -> None:
    bench.add(kind, guards={"approval": True})
    first, second = bench.call(kind), bench.call(kind, "c2")
    assert [first.outcome, second.outcome] == ["waiting", "waiting"]
    started, refused = bench.client.triggers.approve(first.id), bench.client.triggers.refuse(second.id, note="not this week")
    assert (started.outcome, started.approved_by, bool(started.pipeline_run)) == ("fired", "owner", True)
    assert (refused.outcome, refused.reason) == ("held_back", "owner has refused it: not this week")
    with pytest.raises(RungError, match="does not wait"):
        bench.client.triggers.approve(second.id)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_cannot_be_started_is_recorded_and_blocks_nothing(bench: Bench, kind: str) -> None:
    bench.add(kind, params={"rows": 3})
    without = (PipelineInfo(name="train", target="m:train", doc="", code="", seen_at=START, steps=(), params=()),)
    bench.transport.call(RegisterPipelines(pipelines=without))
    held = bench.call(kind)
    assert held.outcome == "held_back"
    assert "no parameter 'rows'" in held.reason


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pipeline": "trane"}, "trane"),
        ({"options": {"no_such_option": 1}}, "no_such_option"),
        ({"params": {"row": 1}}, "row"),
        ({"params": {"rows": "many"}}, "many"),
        ({"take": {"rows": "no_such_fact"}}, "no_such_fact"),
        ({"take": {"row": "as_of"}}, "row"),
        ({"guards": Guards(zone="Europe/Atlantis")}, "Europe/Atlantis"),
        ({"guards": Guards(quiet=("sometimes",))}, "sometimes"),
    ],
)
def test_a_trigger_that_cannot_work_is_refused_when_it_is_written(
    transport: LocalTransport, kind: str, change: dict[str, Any], told: str
) -> None:
    known = (PipelineInfo(name="train", target="m:train", doc="", code="", seen_at=START, steps=(), params=_PARAMS),)
    transport.call(RegisterPipelines(pipelines=known))
    subject = "flights" if TRIGGERS.get(kind).about else "*"
    wish = {"name": "t", "pipeline": "train", "kind": kind, "subject": subject, "options": TRIGGERS.get(kind).example.options, **change}
    with pytest.raises((Invalid, NotFound)) as caught:
        transport.call(AddTrigger(**wish))
    assert told in caught.value.message
    assert caught.value.hint
    assert transport.call(ListTriggers()) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_facts_survive_the_way_through_json(kind: str) -> None:
    member = TRIGGERS.get(kind)
    for plain in (member.example.met, member.example.unmet):
        if plain is not None:
            held = decoded(plain, member.facts)
            assert decoded(msgspec.json.decode(msgspec.json.encode(held)), member.facts) == held


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_as_facts_meets_no_condition(bench: Bench, kind: str) -> None:
    bench.add(kind)
    garbage = {name: {"a": [None]} for name in TRIGGERS.get(kind).facts.__struct_fields__}
    (fire,) = bench.transport.call(CallTriggers(signal=Signal(kind=kind, subject="flights", cause="g", facts=garbage)))
    assert (fire.outcome, fire.pipeline_run) == ("not_met", None)


def test_patience_waits_for_the_cooldown_and_gives_up_in_the_end(bench: Bench) -> None:
    bench.add("decision", guards={"cooldown_s": 3600.0, "patience_s": 7200.0})
    assert bench.call("decision", "c0").outcome == "fired"
    bench.clock.advance(timedelta(minutes=10))
    held = bench.call("decision")
    assert (held.outcome, held.give_up_at) == ("waiting", bench.clock.now() + timedelta(hours=2))
    bench.clock.advance(timedelta(minutes=51))
    assert _again(bench)[0].outcome == "fired"
    bench.clock.advance(timedelta(minutes=1))
    bench.client.triggers.edit("decision", cooldown="10d")
    assert bench.call("decision", "c3").outcome == "waiting"
    bench.clock.advance(timedelta(hours=3))
    late = _again(bench)[0]
    assert (late.outcome, late.reason[:15]) == ("held_back", "It waited until")


def test_a_queued_cause_starts_when_the_run_before_it_has_ended(bench: Bench) -> None:
    bench.add("decision", guards={"concurrency": "queue"})
    first, second = bench.call("decision"), bench.call("decision", "c2")
    assert [first.outcome, second.outcome] == ["fired", "waiting"]
    assert "train:1" in second.reason
    bench.client.pipelines.cancel(str(first.pipeline_run))
    assert [fire.outcome for fire in _again(bench, pipeline="train")] == ["fired"]
    assert bench.runs() == 2


def test_cool_down_and_maximum_go_by_the_time_of_the_data(bench: Bench) -> None:
    """A replay of a year takes minutes of the clock; its weeks are weeks all the same."""
    bench.add("decision", guards={"cooldown_s": 86_400.0 * 6, "most": 4, "most_period": "month"})
    day = timedelta(days=1)
    outcomes = [bench.call("decision", f"w{week}", as_of=START - 7 * day * (8 - week)).outcome for week in range(6)]
    assert outcomes == ["fired"] * 6
    assert bench.call("decision", "close", as_of=START - 20 * day).outcome == "held_back"


def test_a_start_dated_by_a_clock_far_ahead_does_not_block_for_ever(bench: Bench) -> None:
    bench.add("decision", guards={"cooldown_s": 3600.0})
    assert bench.call("decision", "future", as_of=START + timedelta(days=3650)).outcome == "fired"
    assert bench.call("decision", "now").outcome == "fired"
    assert bench.call("decision", "soon", as_of=START + timedelta(minutes=5)).outcome == "held_back"
    assert bench.call("decision", "before", as_of=START - timedelta(minutes=5)).outcome == "held_back"


def test_the_parameters_of_a_run_come_from_facts_and_are_told(bench: Bench) -> None:
    bench.add("drift", take={"rows": "version"}, params={"deployment": "mine"})
    fire = bench.call("drift")
    assert fire.params == {"deployment": "mine", "rows": 0}
    bench.client.triggers.remove("drift")
    bench.add("drift")
    assert bench.call("drift").params == {"deployment": "flights"}  # a fact that is called like a parameter


def test_history_outlives_its_trigger(bench: Bench) -> None:
    bench.add("decision")
    fire = bench.call("decision")
    bench.client.triggers.remove("decision")
    assert bench.client.triggers.history("decision") == (fire,)
    with pytest.raises(NotFound):
        bench.client.triggers.history("never")


def _again(bench: Bench, **more: Any) -> tuple[TriggerFire, ...]:
    return bench.transport.call(ReconsiderFires(**more))
