"""Records and requests of triggers: what starts a pipeline by itself, and what holds it back.

A trigger is called upon by a cause: a time, an event, a webhook, a person. Each cause is answered once; the answer is
kept with every reason and figure, whether a run was started or not.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.records import Count, Id, Instant, Key, Line, Name, Page, Record, Share
from rung.core.requests import Effect, Request
from rung.pipelines.records import Params, Seconds

CatchUp = Literal["none", "last", "all"]
FireOutcome = Literal["fired", "held_back", "not_met", "waiting", "dry"]
Period = Literal["hour", "day", "week", "month", "year"]
Concurrency = Literal["allow", "skip", "queue"]
TriggerSource = Literal["", "rung.toml", "code"]
Priority = Annotated[int, Meta(ge=-100, le=100)]
Secret = Annotated[str, Meta(max_length=1000, pattern=r"^[^\x00]*$")]
Facts = dict[Key, Any]
Take = dict[Key, Key]
Money = Annotated[float, Meta(ge=0, le=1e15)]


class Guards(Record):
    """What may hold a trigger back although its cause is given.

    Between two starts ``cooldown_s`` must pass; a calendar ``most_period`` sees at most ``most`` starts (0: any number), and
    a ``budget_period`` costs at most ``budget``: the pipeline's own runs and, with ``budget_model``, the cost ledger of that
    model. Labels of ``label_deployment`` (default: the trigger's own) must have arrived for the cause's period, or else the
    last ``label_days``: a share, a number, and its end so long ago. ``quiet`` are hours such as ``Mon-Fri 08:00-18:00`` in
    ``zone``. ``patience_s`` is how long a cause that is held back waits for the reasons to pass; with 0 it is answered at once.
    """

    cooldown_s: Seconds = 0.0
    most: Count = 0
    most_period: Period = "day"
    budget: Money | None = None
    budget_period: Period = "month"
    budget_model: Line = ""
    min_labelled: Share = 0.0
    min_labels: Count = 0
    min_label_age_s: Seconds = 0.0
    label_days: Annotated[int, Meta(ge=1, le=3660)] = 28
    label_deployment: Line = ""
    quiet: Annotated[tuple[Line, ...], Meta(max_length=50)] = ()
    zone: Line = "UTC"
    concurrency: Concurrency = "allow"
    approval: bool = False
    dry: bool = False
    patience_s: Seconds = 0.0


class Trigger(Record):
    """What starts a pipeline by itself, on account of a cause of its kind.

    ``subject`` is the dataset, deployment, pipeline, model or repository it listens to, or ``*`` for any. ``options`` are those
    of the kind. ``params`` are handed to the pipeline as they are, ``take`` names the fact of the cause that each parameter
    takes; the facts each kind hands over by name need not be named. ``hook`` is the address of a trigger
    that is called over HTTP; its ``secret`` is answered when it is made, and never again.
    """

    id: Id
    name: Name
    pipeline: Name
    kind: Name
    subject: Line = "*"
    options: dict[str, Any] = {}
    params: Params = {}
    take: Take = {}
    guards: Guards = Guards()
    priority: Priority = 0
    package: str = ""
    environment: Line = ""
    executor: Line = ""
    paused: bool = False
    source: TriggerSource = ""
    hook: Line = ""
    secret: str = ""
    warnings: tuple[Line, ...] = ()
    created_at: Instant
    created_by: Line
    updated_at: Instant | None = None
    next_fire: Instant | None = None
    last_fired_at: Instant | None = None


class TriggerCheck(Record):
    """One thing that was looked at before a trigger fired: whether it passed, the figure, the line it was held against."""

    guard: Key
    passed: bool
    statement: Line
    value: float | None = None
    line: float | None = None
    until: Instant | None = None


class TriggerFire(Record):
    """One call upon a trigger and its answer.

    ``not_met``: the cause does not fulfil the trigger's own condition (yet). ``waiting``: it is looked at again at ``due_at``,
    until ``give_up_at``. ``dry``: nothing was started; ``would`` says what else had happened. ``as_of`` is the instant of
    the cause, in the time of the data; ``at`` the clock's.
    """

    id: Id
    trigger: Id
    trigger_name: Line
    kind: Line
    pipeline: Line
    cause: Key
    outcome: FireOutcome
    reason: Line
    checks: tuple[TriggerCheck, ...] = ()
    facts: Facts = {}
    params: Params = {}
    would: Line = ""
    as_of: Instant
    at: Instant
    settled_at: Instant | None = None
    due_at: Instant | None = None
    give_up_at: Instant | None = None
    called_by: Line = ""
    approved_by: Line = ""
    pipeline_run: Id | None = None


class UpcomingFire(Record):
    """A time at which a schedule will call: ``due_at`` is ``fire_time`` with its jitter."""

    trigger: Name
    pipeline: Name
    fire_time: Instant
    due_at: Instant
    local_time: Line


class Signal(Record):
    """Something that calls upon triggers: of which kind, about what, and which facts it brings. One of a cause counts once."""

    kind: Name
    subject: Line
    cause: Key
    reason: Line = ""
    facts: Facts = {}
    as_of: Instant | None = None


class LabelFigures(Record):
    """Predictions of a deployment in [start, end) and how many had a label at ``as_of``."""

    deployment: Line
    start: Instant
    end: Instant
    as_of: Instant
    rows: Count
    labelled: Count


class SpendFigures(Record):
    """What a period has cost since ``since``, and what one more run is likely to."""

    since: Instant
    spent: float
    estimate: float
    currency: Line


class Figures(Record):
    """What guards need and pipelines cannot know; ``missing`` says why a figure could not be had."""

    labels: LabelFigures | None = None
    spend: SpendFigures | None = None
    missing: dict[str, Line] = {}


class AddTrigger(Request[Trigger]):
    """Let a cause start a pipeline. One that is called over HTTP answers its secret here, and only here.

    ``replace`` writes the trigger of that name anew; without it, AlreadyExists.
    """

    operation = "pipelines.add_trigger"
    permission = "trigger:write"
    secrets: ClassVar[tuple[str, ...]] = ("secret",)
    name: Name
    pipeline: Name
    kind: Name
    subject: Line = "*"
    options: dict[str, Any] = {}
    params: Params = {}
    take: Take = {}
    guards: Guards = Guards()
    priority: Priority = 0
    package: str = ""
    environment: Line = ""
    executor: Line = ""
    paused: bool = False
    secret: Secret | None = None
    replace: bool = False


class UpdateTrigger(Request[Trigger]):
    """Change a trigger in place; what is None stays. Its history, its hook and its secret stay too."""

    operation = "pipelines.update_trigger"
    permission = "trigger:write"
    name: Name
    pipeline: Name | None = None
    subject: Line | None = None
    options: dict[str, Any] | None = None
    params: Params | None = None
    take: Take | None = None
    guards: Guards | None = None
    priority: Priority | None = None
    package: str | None = None
    environment: Line | None = None
    executor: Line | None = None


class GetTrigger(Request[Trigger]):
    """One trigger."""

    operation = "pipelines.get_trigger"
    permission = "trigger:read"
    effect: ClassVar[Effect] = "read"
    name: Name


class ListTriggers(Request[tuple[Trigger, ...]]):
    """Triggers of the project."""

    operation = "pipelines.list_triggers"
    permission = "trigger:read"
    effect: ClassVar[Effect] = "read"
    kind: Name | None = None
    pipeline: Name | None = None


class RemoveTrigger(Request[Trigger]):
    """Remove a trigger; the record of what it did stays."""

    operation = "pipelines.remove_trigger"
    permission = "trigger:write"
    name: Name


class PauseTriggers(Request[tuple[Trigger, ...]]):
    """Pause or resume one trigger, or all of them when none is named."""

    operation = "pipelines.pause_triggers"
    permission = "trigger:write"
    name: Name | None = None
    paused: bool = True


class RotateTriggerSecret(Request[Trigger]):
    """A new secret for a trigger that is called over HTTP; the one before stays good for ``grace_s``."""

    operation = "pipelines.rotate_trigger_secret"
    permission = "trigger:write"
    secrets: ClassVar[tuple[str, ...]] = ("secret",)
    name: Name
    secret: Secret | None = None
    grace_s: Annotated[float, Meta(ge=0, le=30 * 86400)] = 0.0


class SyncTriggers(Request[tuple[Trigger, ...]]):
    """Make the triggers of one source those that are declared there: new ones are added, changed ones changed, missing ones removed.

    Triggers that somebody added by hand are left alone; one of the same name is an error.
    """

    operation = "pipelines.sync_triggers"
    permission = "trigger:write"
    source: Literal["rung.toml", "code"]
    triggers: tuple[AddTrigger, ...]


class ListTriggerFires(Request[tuple[TriggerFire, ...]]):
    """Calls upon triggers and their answers, newest first."""

    operation = "pipelines.list_trigger_fires"
    permission = "trigger:read"
    effect: ClassVar[Effect] = "read"
    name: Name | None = None
    outcome: FireOutcome | None = None
    after: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class GetTriggerFire(Request[TriggerFire]):
    """One call upon a trigger, by its id or by the pipeline run it started."""

    operation = "pipelines.get_trigger_fire"
    permission = "trigger:read"
    effect: ClassVar[Effect] = "read"
    id: Id


class NextFires(Request[Page[UpcomingFire]]):
    """The next times at which schedules call, soonest first."""

    operation = "pipelines.next_fires"
    permission = "trigger:read"
    effect: ClassVar[Effect] = "read"
    name: Name | None = None
    count: Annotated[int, Meta(ge=1, le=1000)] = 10
