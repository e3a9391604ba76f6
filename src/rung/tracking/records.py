"""Records and requests of tracking."""

from __future__ import annotations

from html import escape
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.events import Event
from rung.core.records import AnyFloat, Count, Digest, Empty, Id, Instant, Int64, Key, Line, Name, Number, Page, Record, Text
from rung.core.references import DatasetUse, LockDigest
from rung.core.requests import Effect, Request

RunStatus = Literal["running", "succeeded", "failed", "cancelled"]
LockKind = Literal["uv.lock", "requirements.lock", "requirements.txt", "installed", ""]
ConditionField = Literal["param", "metric", "tag", "status", "name", "pipeline_run", "git_commit", "started_at", "ended_at"]
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "like", "missing", "present"]
OrderField = Literal["started_at", "ended_at", "name", "metric", "param"]
ParamText = Annotated[str, Meta(max_length=8000, pattern=r"^[^\x00]*$")]
ParamValue = ParamText | Int64 | float | bool | None
ArtifactPath = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00/\\][^\x00\\]*$")]


class Experiment(Record):
    """A named question that runs try to answer."""

    id: Id
    name: Name
    note: Text
    created_at: Instant
    created_by: Line


class Hardware(Record):
    """The machine a run was made on."""

    cpus: Count = 0
    memory_bytes: Count = 0
    gpus: tuple[Line, ...] = ()


class RunContext(Record):
    """What a run was made with: code, libraries, interpreter, seeds, machine. ``lock`` is the digest of a blob."""

    git_commit: Line = ""
    git_dirty: bool = False
    lock: LockDigest = ""
    lock_kind: LockKind = ""
    python: Line = ""
    platform: Line = ""
    seeds: dict[Key, Int64] = {}
    hardware: Hardware = Hardware()
    source: Line = ""


class MetricPoint(Record):
    """One measured value. Without ``at`` it gets the instant at which it arrives."""

    key: Key
    value: AnyFloat
    step: Int64 = 0
    at: Instant | None = None


class MetricSeries(Record):
    """A metric's points by step. When thinned, each stretch keeps its first, smallest, greatest and last point."""

    run: Id
    key: Key
    points: tuple[MetricPoint, ...]
    total: Count
    thinned: bool


class Artifact(Record):
    """A named output of a run: bytes by digest."""

    run: Id
    path: ArtifactPath
    digest: Digest
    size_bytes: Count
    media_type: Line
    created_at: Instant


class Run(Record):
    """One attempt at an experiment. ``metrics`` holds the latest value of each; undefined ones are NaN."""

    id: Id
    experiment: Name
    number: Number
    name: Line
    status: RunStatus
    started_at: Instant
    created_by: Line
    ended_at: Instant | None = None
    params: dict[str, ParamValue] = {}
    metrics: dict[str, AnyFloat] = {}
    tags: dict[str, str] = {}
    context: RunContext = RunContext()
    datasets: tuple[DatasetUse, ...] = ()
    pipeline_run: Id | None = None
    step: Line = ""
    parent: Id | None = None
    deleted_at: Instant | None = None
    error: Text = ""

    @property
    def git_commit(self) -> str:
        """The commit the code was at."""
        return self.context.git_commit

    @property
    def lock(self) -> str:
        """Digest of the libraries it ran with."""
        return self.context.lock

    def _repr_html_(self) -> str:
        """How a notebook shows a run."""
        facts = {"status": self.status, "started": self.started_at.isoformat(sep=" ", timespec="seconds"), "commit": self.git_commit[:12]}
        groups: dict[str, dict[str, Any]] = {"run": facts, "params": self.params, "metrics": self.metrics, "tags": self.tags}
        cells = "".join(
            f"<tr><th>{escape(group)}</th><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
            for group, values in groups.items()
            for name, value in values.items()
        )
        return f"<table><caption>{escape(self.experiment)}:{self.number} {escape(self.name)}</caption>{cells}</table>"


class Condition(Record):
    """One claim about a run, such as ``metric auc > 0.7``; ``key`` names the param, metric or tag, instants are ISO 8601."""

    field: ConditionField
    key: Line = ""
    operator: Operator = "="
    value: str | Int64 | float | bool | None = None


class Order(Record):
    """What a list of runs is sorted by. Runs without the value come last, NaN before them."""

    by: OrderField = "started_at"
    key: Line = ""
    descending: bool = True


class CreateExperiment(Request[Experiment]):
    """Make an experiment. Starting a run makes its experiment too, so this is only needed for the note."""

    operation = "tracking.create_experiment"
    permission = "run:write"
    name: Name
    note: Text = ""


class ListExperiments(Request[tuple[Experiment, ...]]):
    """Experiments of the project, newest first."""

    operation = "tracking.list_experiments"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"


class StartRun(Request[Run]):
    """Open a run. With an ``id`` chosen by the caller, asking twice opens it once."""

    operation = "tracking.start_run"
    permission = "run:write"
    experiment: Name = "default"
    name: Line = ""
    id: Id | None = None
    params: dict[Key, ParamValue] = {}
    tags: dict[Key, Text] = {}
    context: RunContext = RunContext()
    datasets: tuple[DatasetUse, ...] = ()
    pipeline_run: Id | None = None
    step: Line = ""
    parent: Id | None = None
    started_at: Instant | None = None


class LogBatch(Request[Empty]):
    """Log params, metric points, tags and dataset uses of a run: all of them or none. The same ``batch`` counts once."""

    operation = "tracking.log_batch"
    permission = "run:write"
    audited: ClassVar[bool] = False
    run: Id
    batch: Id | None = None
    params: Annotated[dict[Key, ParamValue], Meta(max_length=2000)] = {}
    metrics: Annotated[tuple[MetricPoint, ...], Meta(max_length=10_000)] = ()
    tags: Annotated[dict[Key, Text], Meta(max_length=2000)] = {}
    datasets: Annotated[tuple[DatasetUse, ...], Meta(max_length=100)] = ()


class FinishRun(Request[Run]):
    """Close a run; closing it again with another status changes the status."""

    operation = "tracking.finish_run"
    permission = "run:write"
    run: Id
    status: Literal["succeeded", "failed", "cancelled"] = "succeeded"
    error: Text = ""
    ended_at: Instant | None = None


class LogArtifact(Request[Artifact]):
    """Name a stored blob as an output of a run; the same path again replaces it."""

    operation = "tracking.log_artifact"
    permission = "run:write"
    effect: ClassVar[Effect] = "work"
    run: Id
    path: ArtifactPath
    digest: Digest
    size_bytes: Count
    media_type: Line = "application/octet-stream"


class ListArtifacts(Request[tuple[Artifact, ...]]):
    """Outputs of a run, by path."""

    operation = "tracking.list_artifacts"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    run: Key


class GetRun(Request[Run]):
    """One run by its id or as ``experiment:number``."""

    operation = "tracking.get_run"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    run: Key


class SearchRuns(Request[Page[Run]]):
    """Runs that meet all conditions, sorted, a page at a time."""

    operation = "tracking.search_runs"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    experiment: Name | None = None
    conditions: Annotated[tuple[Condition, ...], Meta(max_length=50)] = ()
    order: Order = Order()
    after: Line | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    deleted: bool = False


class MetricHistory(Request[MetricSeries]):
    """The points of one metric of a run, thinned to about ``limit`` if there are more."""

    operation = "tracking.metric_history"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    run: Key
    key: Key
    limit: Annotated[int, Meta(ge=4, le=100_000)] = 1000


class DeleteRun(Request[Run]):
    """Put a run aside; it can be restored."""

    operation = "tracking.delete_run"
    permission = "run:write"
    run: Key


class RestoreRun(Request[Run]):
    """Bring a deleted run back."""

    operation = "tracking.restore_run"
    permission = "run:write"
    run: Key


class RunFinished(Event):
    """A run was closed."""

    kind: ClassVar[str] = "tracking.run_finished"
    run: Id
    experiment: str
    status: RunStatus
    started_at: Instant
    ended_at: Instant
    pipeline_run: Id | None = None
