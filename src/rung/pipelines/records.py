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
CauseKind = Name  # manual, reproduction, or the kind of the trigger that was called
RunRule = Literal["on_success", "always", "on_failure"]
FailureRule = Literal["stop", "continue"]
NodeKind = Literal["step", "map"]
Operator = Literal["<", "<=", ">", ">=", "==", "!=", "in", "true", "and", "or", "not"]
ItemStatus = Literal["succeeded", "cached", "failed", "cancelled"]
ChangedPart = Literal["code", "parameter", "input", "library", "python", "environment", "seed", "salt", "file", "variable"]
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
    """What ``@step`` was told: how often to try, how long to wait, what it needs, whether it may be cached.

    The first retry comes after ``backoff_s``, each further one after ``backoff_factor`` times as long, at most
    ``backoff_most_s``; ``jitter`` is the share of the pause that chance may add. ``retry_on`` names exceptions, bare or
    dotted; empty means any failure. ``environment`` is a lock or requirements file of the project. ``files`` (globs in
    the project's folder) and ``variables`` of the environment are what the step reads besides its inputs; their content
    enters its cache key.
    """

    retries: Annotated[int, Meta(ge=0, le=100)] = 0
    backoff_s: Seconds = 0.5
    backoff_factor: Annotated[float, Meta(ge=1, le=100)] = 2.0
    backoff_most_s: Seconds = 300.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.0
    retry_on: tuple[Line, ...] = ()
    timeout_s: Annotated[float, Meta(gt=0)] | None = None
    cpus: Annotated[float, Meta(gt=0)] | None = None
    gpus: Annotated[float, Meta(gt=0)] | None = None
    memory_bytes: Annotated[int, Meta(gt=0)] | None = None
    resources: dict[Key, float] = {}
    cache: bool = True
    ttl_s: Annotated[float, Meta(gt=0)] | None = None
    isolated: bool = False
    executor: Line = ""
    environment: Line = ""
    secrets: tuple[Key, ...] = ()
    run: RunRule = "on_success"
    concurrency_group: Line = ""
    concurrency_limit: Annotated[int, Meta(ge=1, le=10_000)] = 1
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    tolerance: Annotated[float, Meta(ge=0)] | None = None
    files: tuple[Line, ...] = ()
    variables: tuple[Line, ...] = ()


class Condition(Record):
    """When a step runs: a comparison of an earlier output, or ``and``, ``or``, ``not`` over ``parts``.

    ``source`` is ``key`` or ``key.index`` as in the inputs of a step, ``path`` the way into its value.
    """

    operator: Operator
    source: Line = ""
    path: tuple[str | int, ...] = ()
    value: Any = None
    parts: tuple[Condition, ...] = ()


class StepSpec(Record):
    """A node of a plan: which step, what it is given and whom it waits for.

    ``key`` is unique in the plan. ``inputs`` names each parameter's sources as ``key`` or ``key.index`` of earlier
    nodes; ``arguments`` holds literal values that are plain JSON. A ``map`` node calls its step once an item of the
    parameters in ``over``, ``batch`` items a task (0: as the engine sees fit). ``within`` is the way of sub-pipelines.
    """

    key: Key
    step: Key
    target: Line
    options: StepOptions
    needs: tuple[Key, ...] = ()
    inputs: dict[str, tuple[str, ...]] = {}
    outputs: tuple[str, ...] = ("output",)
    doc: Line = ""
    kind: NodeKind = "step"
    arguments: dict[str, Any] = {}
    over: tuple[Key, ...] = ()
    batch: Count = 0
    conditions: tuple[Condition, ...] = ()
    within: Line = ""


class ParamSpec(Record):
    """A parameter of a pipeline: its type in words and its default; required when it has none."""

    name: Key
    type: Line
    required: bool
    default: Any = None
    unit: Line = ""
    doc: Line = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()


class PipelineInfo(Record):
    """A pipeline the project defines: its parameters and the plan that its defaults give."""

    name: Name
    target: Line
    doc: Text
    params: tuple[ParamSpec, ...]
    steps: tuple[StepSpec, ...]
    code: str
    seen_at: Instant
    on_failure: FailureRule = "stop"
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    concurrency_group: Line = ""
    concurrency_limit: Annotated[int, Meta(ge=1, le=10_000)] = 1


class Cause(Record):
    """Why a pipeline run was started: by whom or by which trigger, and on account of what."""

    kind: CauseKind = "manual"
    trigger: Id | None = None
    subject: Line = ""
    reason: Line = ""


class PipelineRun(Record):
    """One execution of a pipeline. ``run_id`` is the tracking run that its steps log to.

    ``inputs`` are digests of what it reads besides its parameters, ``packages`` that of a list of what was installed.
    """

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
    package: str = ""
    environment: Line = ""
    executor: Line = ""
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    concurrency_group: Line = ""
    concurrency_limit: Annotated[int, Meta(ge=1, le=10_000)] = 1
    audited: bool = False
    switches: dict[str, str] = {}
    inputs: dict[str, str] = {}
    packages: str = ""
    rerun_of: Id | None = None
    rerun_from: tuple[Key, ...] = ()
    notes: tuple[Line, ...] = ()
    wall_s: Seconds = 0.0
    cpu_s: Seconds = 0.0
    gpu_s: Seconds = 0.0
    peak_bytes: Count = 0


class Change(Record):
    """One thing that differs from the result a step was compared with; an empty side means that it was not there."""

    part: ChangedPart
    name: Line
    before: Line = ""
    after: Line = ""


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
    executor: Line = ""
    gpu_s: Seconds = 0.0
    peak_bytes: Count = 0
    undeclared: tuple[Line, ...] = ()
    items: Count = 0
    items_done: Count = 0
    items_cached: Count = 0
    items_failed: Count = 0
    changes: tuple[Change, ...] = ()
    compared_with: Id | None = None


class StepItem(Record):
    """One item of a map in a pipeline run, once it has ended; ``position`` is its place in the collection."""

    step_run: Id
    position: Count
    status: ItemStatus
    attempts: Count
    cache_key: str
    outputs: tuple[Artifact, ...] = ()
    wall_s: Seconds = 0.0
    cpu_s: Seconds = 0.0
    peak_bytes: Count = 0
    error: Text = ""
    log: str = ""
    worker: Line = ""
    ended_at: Instant | None = None


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
    peak_bytes: Count = 0
    error: Text = ""
    log: str = ""


class PipelineRunDetail(Record):
    """A pipeline run with its steps, in the order of the plan, and every attempt at them."""

    run: PipelineRun
    steps: tuple[StepRun, ...]
    attempts: tuple[StepAttempt, ...]


class LogChunk(Record):
    """Part of a step's log from byte ``offset``, of ``size_bytes`` by now; ask again from ``next_offset`` until ``finished``."""

    text: str
    offset: Count
    next_offset: Count
    finished: bool
    attempt: Count
    size_bytes: Count = 0


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

    ``held`` leases the run to the caller at once, who executes it in the foreground instead of a worker. With
    ``rerun_from`` these steps and all after them run anew, the others take the results of ``rerun_of``. ``within`` is the
    run whose step asks.
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
    executor: Line = ""
    environment: Line = ""
    package: str = ""
    concurrency_group: Line = ""
    concurrency_limit: Annotated[int, Meta(ge=1, le=10_000)] = 1
    audit: bool = False
    rerun_of: Id | None = None
    rerun_from: tuple[Key, ...] = ()
    within: Id | None = None


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


class ListStepItems(Request[tuple[StepItem, ...]]):
    """Ended items of a map, in the order of the collection, from behind ``after`` on."""

    operation = "pipelines.list_step_items"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    pipeline_run: Id
    step: Key
    status: ItemStatus | None = None
    after: Annotated[int, Meta(ge=-1, le=2**31 - 1)] = -1
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100


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


class PipelineRunStarted(Event):
    """A worker began a pipeline run, or went on with it."""

    kind: ClassVar[str] = "pipelines.run_started"
    pipeline: str
    pipeline_run: Id
    at: Instant
    run_id: Id | None = None


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
