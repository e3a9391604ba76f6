"""Records and requests of pipelines."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.events import Event
from rung.core.records import Count, Id, Instant, Key, Line, Name, Number, Page, Record, Text
from rung.core.requests import Effect, Request

PipelineRunStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
StepStatus = Literal["waiting", "running", "succeeded", "cached", "failed", "cancelled", "skipped"]
AttemptStatus = Literal["running", "succeeded", "failed", "cancelled", "timed_out", "lost"]
TriggerKind = Literal["schedule", "dataset", "alert", "decision"]
CauseKind = Literal["manual", "schedule", "dataset", "alert", "decision", "reproduction"]
CatchUp = Literal["none", "last", "all"]
FireOutcome = Literal["fired", "held_back"]
Likeness = Literal["identical", "equivalent", "different"]
Params = dict[str, Any]
Seconds = Annotated[float, Meta(ge=0)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class Artifact(Record):
    """One output of a step: canonical bytes by digest, small ones kept in the row."""

    name: Line
    kind: Line
    digest: str
    size_bytes: Count
    meta: dict[str, Any] = {}
    inline: bytes | None = None


class StepOptions(Record):
    """What ``@step`` was told: how often to try, how long to wait, what it needs, whether it may be cached."""

    retries: Annotated[int, Meta(ge=0, le=100)] = 0
    timeout_s: Annotated[float, Meta(gt=0)] | None = None
    cpus: Annotated[float, Meta(gt=0)] | None = None
    memory_bytes: Annotated[int, Meta(gt=0)] | None = None
    cache: bool = True
    isolated: bool = False


class StepSpec(Record):
    """A node of a plan: which step, what it is given and whom it waits for.

    ``key`` is unique in the plan. ``inputs`` names each parameter's sources as ``key`` or ``key.index`` of earlier
    nodes; parameters with literal values are not listed.
    """

    key: Key
    step: Key
    target: Line
    options: StepOptions
    needs: tuple[Key, ...] = ()
    inputs: dict[str, tuple[str, ...]] = {}
    outputs: tuple[str, ...] = ("output",)
    doc: Line = ""


class ParamSpec(Record):
    """A parameter of a pipeline: its type in words and its default; required when it has none."""

    name: Key
    type: Line
    required: bool
    default: Any = None


class PipelineInfo(Record):
    """A pipeline the project defines: its parameters and the plan that its defaults give."""

    name: Name
    target: Line
    doc: Text
    params: tuple[ParamSpec, ...]
    steps: tuple[StepSpec, ...]
    code: str
    seen_at: Instant


class Cause(Record):
    """Why a pipeline run was started: by whom or by which trigger, and on account of what."""

    kind: CauseKind = "manual"
    trigger: Id | None = None
    subject: Line = ""
    reason: Line = ""


class PipelineRun(Record):
    """One execution of a pipeline. ``run_id`` is the tracking run that its steps log to."""

    id: Id
    number: Number
    pipeline: Name
    status: PipelineRunStatus
    params: Params
    cause: Cause
    seed: Seed
    use_cache: bool
    created_at: Instant
    created_by: Line
    started_at: Instant | None = None
    ended_at: Instant | None = None
    run_id: Id | None = None
    code: str = ""
    lock: str = ""
    python: str = ""
    git_commit: str = ""
    git_dirty: bool = False
    hardware: dict[str, Any] = {}
    steps: tuple[StepSpec, ...] = ()
    outputs: tuple[Artifact, ...] = ()
    error: Text = ""
    failed_step: str = ""
    cancel_requested: bool = False
    resumed: Count = 0
    reproduces: Id | None = None
    wall_s: Seconds = 0.0
    cpu_s: Seconds = 0.0


class StepRun(Record):
    """A step in one pipeline run: its state, why it ran or was cached, what it made and what it cost."""

    id: Id
    pipeline_run: Id
    key: Key
    step: Key
    position: Count
    status: StepStatus
    attempts: Count = 0
    cache_key: str = ""
    fingerprint: str = ""
    reason: Line = ""
    cached_from: Id | None = None
    outputs: tuple[Artifact, ...] = ()
    started_at: Instant | None = None
    ended_at: Instant | None = None
    wall_s: Seconds = 0.0
    cpu_s: Seconds = 0.0
    error: Text = ""


class StepAttempt(Record):
    """One try at a step, by which executor and worker, and how it ended."""

    id: Id
    step_run: Id
    number: Number
    status: AttemptStatus
    executor: Line
    worker: Line
    started_at: Instant
    ended_at: Instant | None = None
    wall_s: Seconds = 0.0
    cpu_s: Seconds = 0.0
    error: Text = ""
    log: str = ""


class PipelineRunDetail(Record):
    """A pipeline run with its steps, in the order of the plan, and every attempt at them."""

    run: PipelineRun
    steps: tuple[StepRun, ...]
    attempts: tuple[StepAttempt, ...]


class LogChunk(Record):
    """Part of a step's log from byte ``offset``; ask again from ``next_offset`` until ``finished``."""

    text: str
    offset: Count
    next_offset: Count
    finished: bool
    attempt: Count


class Trigger(Record):
    """What starts a pipeline by itself: a time, a new dataset version, an alert or a decision to retrain.

    ``subject`` is the dataset's name, or the deployment's, or ``*`` for any. Between two starts ``cooldown_s`` must
    pass. A schedule reads ``cron`` in ``zone``; ``catch_up`` says what becomes of fire times missed while nothing ran.
    """

    id: Id
    name: Name
    pipeline: Name
    kind: TriggerKind
    params: Params
    cooldown_s: Seconds
    paused: bool
    created_at: Instant
    created_by: Line
    subject: Line = "*"
    cron: Line = ""
    zone: Line = "UTC"
    catch_up: CatchUp = "last"
    next_fire: Instant | None = None
    last_fired_at: Instant | None = None


class TriggerFire(Record):
    """One time a trigger was called upon: whether it fired, and why or why not."""

    id: Id
    trigger: Id
    cause: Line
    outcome: FireOutcome
    reason: Line
    at: Instant
    pipeline_run: Id | None = None


class OutputComparison(Record):
    """One output of the original against the re-execution's."""

    step: Key
    output: Line
    likeness: Likeness
    detail: Line
    original: str
    repeated: str


class Reproduction(Record):
    """A pipeline run executed again and compared; ``likeness`` is that of its least alike output."""

    id: Id
    pipeline_run: Id
    repeated_as: Id
    likeness: Likeness
    first_diverging_step: str
    tolerance: float
    comparisons: tuple[OutputComparison, ...]
    notes: tuple[str, ...]
    created_at: Instant
    created_by: Line


class RegisterPipelines(Request[tuple[PipelineInfo, ...]]):
    """Tell the platform which pipelines the project folder defines."""

    operation = "pipelines.register"
    permission = "pipeline:write"
    pipelines: tuple[PipelineInfo, ...]


class ListPipelines(Request[tuple[PipelineInfo, ...]]):
    """Pipelines the project is known to define."""

    operation = "pipelines.list"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"


class GetPipeline(Request[PipelineInfo]):
    """One pipeline with its parameters and plan."""

    operation = "pipelines.get"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    pipeline: Name


class RunPipeline(Request[PipelineRun]):
    """Queue a pipeline run. With ``dedup``, a second request of the same word answers the first one's run.

    ``held`` leases the run to the caller at once, who executes it in the foreground instead of a worker.
    """

    operation = "pipelines.run"
    permission = "pipeline:run"
    pipeline: Name
    params: Params = {}
    cause: Cause = Cause()
    seed: Seed = 0
    use_cache: bool = True
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    dedup: Key | None = None
    held: Line | None = None


class ResumePipelineRun(Request[PipelineRun]):
    """Queue a run that did not succeed once more; finished steps keep their results."""

    operation = "pipelines.resume"
    permission = "pipeline:run"
    id: Id
    held: Line | None = None


class GetPipelineRun(Request[PipelineRunDetail]):
    """A pipeline run with its steps and attempts, by id or by ``pipeline:number``."""

    operation = "pipelines.get_run"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    id: Key


class ListPipelineRuns(Request[Page[PipelineRun]]):
    """Pipeline runs, newest first."""

    operation = "pipelines.list_runs"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    pipeline: Name | None = None
    status: PipelineRunStatus | None = None
    after: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class CancelPipelineRun(Request[PipelineRun]):
    """Ask a run to stop: queued ones at once, running ones at the next heartbeat."""

    operation = "pipelines.cancel"
    permission = "pipeline:run"
    id: Id


class StepLog(Request[LogChunk]):
    """What a step printed and logged, from a byte offset on; the newest attempt unless one is named."""

    operation = "pipelines.step_log"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    pipeline_run: Id
    step: Key
    attempt: Number | None = None
    offset: Count = 0
    limit_bytes: Annotated[int, Meta(ge=1, le=1_048_576)] = 65_536


class AddTrigger(Request[Trigger]):
    """Let a schedule, a dataset, an alert or a decision start a pipeline."""

    operation = "pipelines.add_trigger"
    permission = "trigger:write"
    name: Name
    pipeline: Name
    kind: TriggerKind
    params: Params = {}
    subject: Line = "*"
    cron: Line = ""
    zone: Line = "UTC"
    catch_up: CatchUp = "last"
    cooldown_s: Seconds = 0.0


class ListTriggers(Request[tuple[Trigger, ...]]):
    """Triggers of the project."""

    operation = "pipelines.list_triggers"
    permission = "trigger:read"
    effect: ClassVar[Effect] = "read"
    kind: TriggerKind | None = None


class RemoveTrigger(Request[Trigger]):
    """Remove a trigger; the record of what it fired stays."""

    operation = "pipelines.remove_trigger"
    permission = "trigger:write"
    name: Name


class PauseTriggers(Request[tuple[Trigger, ...]]):
    """Pause or resume one trigger, or all of them when none is named."""

    operation = "pipelines.pause_triggers"
    permission = "trigger:write"
    name: Name | None = None
    paused: bool = True


class FireTriggers(Request[tuple[TriggerFire, ...]]):
    """Call upon the triggers of a kind and subject for one cause; each fires or is held back, once per cause."""

    operation = "pipelines.fire_triggers"
    permission = "pipeline:run"
    kind: TriggerKind
    subject: Line
    cause: Line
    reason: Line = ""
    params: Params = {}
    name: Name | None = None


class ListTriggerFires(Request[tuple[TriggerFire, ...]]):
    """When a trigger fired or was held back, newest first."""

    operation = "pipelines.list_trigger_fires"
    permission = "trigger:read"
    effect: ClassVar[Effect] = "read"
    name: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class Reproduce(Request[PipelineRun]):
    """Queue the isolated re-execution of a finished run; its comparison is stored when it ends."""

    operation = "pipelines.reproduce"
    permission = "pipeline:run"
    id: Key
    tolerance: Annotated[float, Meta(ge=0, le=1)] = 1e-9
    held: Line | None = None


class ListReproductions(Request[tuple[Reproduction, ...]]):
    """Reproductions of one run or, when none is named, of all, newest first."""

    operation = "pipelines.list_reproductions"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    pipeline_run: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class StepFinished(Event):
    """A step was executed to its end, well or ill; a cached one costs nothing and emits nothing."""

    kind: ClassVar[str] = "pipelines.step_finished"
    pipeline: str
    pipeline_run: Id
    step_run: Id
    step: str
    status: StepStatus
    cpu_s: float
    wall_s: float
    ended_at: Instant
    run_id: Id | None = None


class PipelineRunFinished(Event):
    """A pipeline run came to its end."""

    kind: ClassVar[str] = "pipelines.run_finished"
    pipeline: str
    pipeline_run: Id
    status: PipelineRunStatus
    cause: Cause
    cpu_s: float
    wall_s: float
    ended_at: Instant
    run_id: Id | None = None
    error: str = ""
