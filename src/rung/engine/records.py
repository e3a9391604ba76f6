"""Requests that call upon triggers. They are the engine's, because guard rails ask for figures of every floor below."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from rung.core.records import Empty, Id, Instant, Key, Line, Name, Record
from rung.core.requests import Effect, Request
from rung.pipelines.records import Params
from rung.pipelines.triggering import Facts, Signal, TriggerFire


class CallTriggers(Request[tuple[TriggerFire, ...]]):
    """Call upon every trigger that listens to a signal, or the one named; each answers a cause once."""

    operation = "engine.call_triggers"
    permission = "pipeline:run"
    effect: ClassVar[Effect] = "work"
    signal: Signal
    name: Name | None = None


class FireTrigger(Request[TriggerFire]):
    """Call upon one trigger by hand: its condition counts as met, its guard rails hold. The same ``cause`` counts once."""

    operation = "engine.fire_trigger"
    permission = "pipeline:run"
    effect: ClassVar[Effect] = "work"
    name: Name
    cause: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    facts: Facts = {}
    params: Params = {}
    as_of: Instant | None = None
    dry: bool = False


class TestTrigger(Request[TriggerFire]):
    """What a trigger would answer now, or to given facts: weighed, not kept, nothing started."""

    __test__: ClassVar[bool] = False
    operation = "engine.test_trigger"
    permission = "trigger:read"
    effect: ClassVar[Effect] = "read"
    name: Name
    facts: Facts = {}
    params: Params = {}
    as_of: Instant | None = None


class CallSchedule(Request[tuple[TriggerFire, ...]]):
    """Let a schedule act upon the times that have come; the engine asks this by itself."""

    operation = "engine.call_schedule"
    permission = "pipeline:run"
    effect: ClassVar[Effect] = "work"
    name: Name


class ReconsiderFires(Request[tuple[TriggerFire, ...]]):
    """Look again at calls that wait: those that are due, or all for a pipeline; the engine asks this by itself."""

    operation = "engine.reconsider_fires"
    permission = "pipeline:run"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    pipeline: Name | None = None


class SettleFire(Request[TriggerFire]):
    """Approve a call that waits, so that it starts once nothing else holds it back; or refuse it."""

    operation = "engine.settle_fire"
    permission = "trigger:override"
    effect: ClassVar[Effect] = "work"
    id: Id
    approve: bool
    note: Line = ""


class HookAnswer(Record):
    """What was decided about a message: the sender learns no more of the project than that."""

    fire: Id
    trigger: Name
    outcome: Line
    reason: Line
    pipeline_run: Id | None = None


class ReceiveHook(Request[HookAnswer]):
    """A message to a trigger's address over HTTP. Raises Denied when it is not signed, or not freshly."""

    operation = "engine.receive_hook"
    permission = "pipeline:run"
    effect: ClassVar[Effect] = "work"
    secrets: ClassVar[tuple[str, ...]] = ("headers", "body")
    hook: Key
    headers: dict[Key, Annotated[str, Meta(max_length=10_000)]]
    body: bytes


class HealSchedules(Request[Empty]):
    """Bring back schedules that a clock which was ahead has moved too far; the engine asks this by itself."""

    operation = "engine.heal_schedules"
    permission = "trigger:write"
    audited: ClassVar[bool] = False
