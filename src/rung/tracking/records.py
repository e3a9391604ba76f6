"""Records and requests of tracking."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.events import Event
from rung.core.notebook import curve_svg, facts_html
from rung.core.records import AnyFloat, Count, Digest, Empty, Id, Instant, Int64, Key, Line, Number, Page, Record, Text
from rung.core.references import DatasetUse, LockDigest
from rung.core.requests import Effect, Request

RunStatus = Literal["running", "scheduled", "succeeded", "failed", "cancelled"]
ENDED: tuple[RunStatus, ...] = ("succeeded", "failed", "cancelled")
LockKind = Literal["uv.lock", "requirements.lock", "requirements.txt", "installed", ""]
View = Literal["active", "deleted", "all"]
Dialect = Literal["rung", "mlflow"]
DEFAULT = "default"
ParamText = Annotated[str, Meta(max_length=8000, pattern=r"^[^\x00]*$")]
ParamValue = ParamText | Int64 | float | bool | None
ArtifactPath = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00/][^\x00]*$")]
# Experiments are titles for people, so they are freer than names; they never enter a file name.
ExperimentName = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f]+$")]
# Who has artifacts: a run, a logged model, a trace, or nobody in particular.
Owner = Annotated[str, Meta(pattern=r"^((m-|tr-)?[0-9a-f]{32}|files)$")]
Tags = dict[Key, Text]
TagChanges = dict[Key, Text | None]


class Experiment(Record):
    """A named question that runs try to answer. ``number`` counts up in the project; 0 is the experiment ``default``."""

    id: Id
    number: Count
    name: ExperimentName
    note: Text
    created_at: Instant
    created_by: Line
    updated_at: Instant
    tags: dict[str, str] = {}
    deleted_at: Instant | None = None
    artifact_location: Line = ""

    def _repr_html_(self) -> str:
        """How a notebook shows an experiment."""
        facts = {"number": self.number, "created": self.created_at, "by": self.created_by, "note": self.note}
        return facts_html(f"experiment {self.name}", {"experiment": facts, "tags": self.tags})


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

    def _repr_html_(self) -> str:
        """How a notebook shows a curve."""
        curve = curve_svg([point.step for point in self.points], [point.value for point in self.points])
        from html import escape  # noqa: PLC0415 - for notebooks alone

        return f"<figure><figcaption>{escape(self.key)}</figcaption>{curve}</figure>"


class Artifact(Record):
    """A named output of a run, a logged model or a trace: bytes by digest."""

    owner: Owner
    path: ArtifactPath
    digest: Digest
    size_bytes: Count
    media_type: Line
    created_at: Instant


class Input(Record):
    """Data a run read that is no dataset of ours: what the client said of it. ``schema`` and ``profile`` are JSON texts."""

    name: Annotated[str, Meta(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
    digest: Annotated[str, Meta(min_length=1, max_length=36, pattern=r"^[^\x00]*$")]
    source_type: Line
    source: Text
    schema: Annotated[str, Meta(max_length=1_048_576, pattern=r"^[^\x00]*$")] = ""
    profile: Annotated[str, Meta(max_length=16_777_216, pattern=r"^[^\x00]*$")] = ""
    tags: dict[str, str] = {}


class MetricColumns(Record):
    """Measured values as columns of one length; ``key`` holds places in ``keys``, ``at`` microseconds since 1970."""

    keys: Annotated[tuple[Key, ...], Meta(max_length=10_000)] = ()
    key: Annotated[tuple[Count, ...], Meta(max_length=10_000)] = ()
    step: Annotated[tuple[Int64, ...], Meta(max_length=10_000)] = ()
    at: Annotated[tuple[Int64, ...], Meta(max_length=10_000)] = ()
    value: Annotated[tuple[AnyFloat, ...], Meta(max_length=10_000)] = ()


class ModelLink(Record):
    """A logged model that a run made or read."""

    model: Id
    direction: Literal["in", "out"] = "out"
    step: Int64 = 0


class ModelMetric(Record):
    """A value measured on a logged model, in a run, perhaps on a dataset."""

    model: Id
    key: Key
    value: AnyFloat
    step: Int64 = 0
    at: Instant | None = None
    run: Id | None = None
    dataset_name: Line = ""
    dataset_digest: Line = ""


class Extremes(Record):
    """Smallest and greatest value of a metric, with the steps they were first seen at; None when all are NaN."""

    low: AnyFloat | None = None
    low_step: Int64 | None = None
    high: AnyFloat | None = None
    high_step: Int64 | None = None


class LatestPoint(Record):
    """The last point of a metric: greatest step, then instant, then value."""

    value: AnyFloat
    step: Int64
    at: Instant
    extremes: Extremes = Extremes()


class Run(Record):
    """One attempt at an experiment. ``metrics`` holds the latest value of each; undefined ones are NaN.

    ``latest`` tells step, instant and extremes as well; it is filled where the request asks for points.
    """

    id: Id
    experiment: ExperimentName
    experiment_number: Count
    number: Number
    name: Line
    status: RunStatus
    started_at: Instant
    created_by: Line
    ended_at: Instant | None = None
    params: dict[str, ParamValue] = {}
    metrics: dict[str, AnyFloat] = {}
    latest: dict[str, LatestPoint] = {}
    tags: dict[str, str] = {}
    context: RunContext = RunContext()
    datasets: tuple[DatasetUse, ...] = ()
    inputs: tuple[Input, ...] = ()
    models: tuple[ModelLink, ...] = ()
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
        facts = {"id": self.id, "status": self.status, "started": self.started_at, "ended": self.ended_at, "commit": self.git_commit[:12]}
        shown = {name: value for name, value in facts.items() if value}
        groups: dict[str, dict[str, Any]] = {"run": shown, "params": self.params, "metrics": self.metrics, "tags": self.tags}
        return facts_html(f"{self.experiment}:{self.number} {self.name}", groups)


class CreateExperiment(Request[Experiment]):
    """Make an experiment. Starting a run makes its experiment too, so this is only needed for note, tags or a place of its own."""

    operation = "tracking.create_experiment"
    permission = "run:write"
    name: ExperimentName
    note: Text = ""
    tags: Tags = {}
    artifact_location: Line = ""


class GetExperiment(Request[Experiment]):
    """One experiment by number or by name, deleted ones too."""

    operation = "tracking.get_experiment"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    number: Count | None = None
    name: ExperimentName | None = None


class ListExperiments(Request[tuple[Experiment, ...]]):
    """Experiments of the project that are not deleted, newest first."""

    operation = "tracking.list_experiments"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"


class SearchExperiments(Request[Page[Experiment]]):
    """Experiments a filter finds (attributes name, number, created_at, updated_at; tags), a page at a time."""

    operation = "tracking.search_experiments"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    filter: Text = ""
    order_by: Annotated[tuple[Line, ...], Meta(max_length=10)] = ()
    after: Line | None = None
    limit: Annotated[int, Meta(ge=1, le=50_000)] = 100
    view: View = "active"
    dialect: Dialect = "rung"


class UpdateExperiment(Request[Experiment]):
    """Rename an experiment, or change its note or tags; a tag given as None is removed."""

    operation = "tracking.update_experiment"
    permission = "run:write"
    number: Count
    name: ExperimentName | None = None
    note: Text | None = None
    tags: TagChanges = {}


class DeleteExperiment(Request[Experiment]):
    """Put an experiment aside; its name stays taken, and it can be restored."""

    operation = "tracking.delete_experiment"
    permission = "run:write"
    number: Count


class RestoreExperiment(Request[Experiment]):
    """Bring a deleted experiment back."""

    operation = "tracking.restore_experiment"
    permission = "run:write"
    number: Count


class StartRun(Request[Run]):
    """Open a run. With an ``id`` chosen by the caller, asking twice opens it once. ``experiment_number`` goes before the name."""

    operation = "tracking.start_run"
    permission = "run:write"
    experiment: ExperimentName = DEFAULT
    experiment_number: Count | None = None
    name: Line = ""
    id: Id | None = None
    params: dict[Key, ParamValue] = {}
    tags: Tags = {}
    context: RunContext = RunContext()
    datasets: tuple[DatasetUse, ...] = ()
    pipeline_run: Id | None = None
    step: Line = ""
    parent: Id | None = None
    started_at: Instant | None = None


class LogBatch(Request[Empty]):
    """Log to a run: all of it or nothing. The same ``batch`` counts once."""

    operation = "tracking.log_batch"
    permission = "run:write"
    audited: ClassVar[bool] = False
    run: Id
    batch: Id | None = None
    params: Annotated[dict[Key, ParamValue], Meta(max_length=2000)] = {}
    metrics: Annotated[tuple[MetricPoint, ...], Meta(max_length=10_000)] = ()
    columns: MetricColumns = MetricColumns()
    tags: Annotated[Tags, Meta(max_length=2000)] = {}
    datasets: Annotated[tuple[DatasetUse, ...], Meta(max_length=100)] = ()
    inputs: Annotated[tuple[Input, ...], Meta(max_length=100)] = ()
    models: Annotated[tuple[ModelLink, ...], Meta(max_length=100)] = ()
    model_metrics: Annotated[tuple[ModelMetric, ...], Meta(max_length=1000)] = ()


class FinishRun(Request[Run]):
    """Close a run; closing it again with another status changes the status."""

    operation = "tracking.finish_run"
    permission = "run:write"
    run: Id
    status: Literal["succeeded", "failed", "cancelled"] = "succeeded"
    error: Text = ""
    ended_at: Instant | None = None


class UpdateRun(Request[Run]):
    """Rename a run, or open it again to go on: ``status`` running forgets when it ended."""

    operation = "tracking.update_run"
    permission = "run:write"
    run: Id
    name: Line | None = None
    status: Literal["running", "scheduled"] | None = None


class DeleteTag(Request[Empty]):
    """Take a tag off a run."""

    operation = "tracking.delete_tag"
    permission = "run:write"
    run: Id
    key: Key


class GetRun(Request[Run]):
    """One run by its id or as ``experiment:number``; with ``points`` its ``latest`` is filled too."""

    operation = "tracking.get_run"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    run: Key
    points: bool = False


class SearchRuns(Request[Page[Run]]):
    """Runs that a filter finds, sorted, a page at a time.

    ``filter`` is ``metrics.auc > 0.7 AND (params.model = 'tree' OR tags.kept IS NOT NULL)``; ``order_by`` is ``metrics.auc DESC``;
    the default order is newest first. In the dialect ``mlflow`` attributes and statuses have MLflow's names.
    """

    operation = "tracking.search_runs"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    experiments: Annotated[tuple[ExperimentName | Count, ...], Meta(max_length=1000)] = ()
    filter: Text = ""
    order_by: Annotated[tuple[Line, ...], Meta(max_length=10)] = ()
    after: Line | None = None
    limit: Annotated[int, Meta(ge=1, le=50_000)] = 50
    view: View = "active"
    dialect: Dialect = "rung"
    points: bool = False


class InputUse(Record):
    """Data that runs of an experiment read, and what for."""

    experiment_number: Count
    name: Line
    digest: Line
    context: Line


class ListInputs(Request[tuple[InputUse, ...]]):
    """Data that runs of some experiments read, each once."""

    operation = "tracking.list_inputs"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    experiments: Annotated[tuple[Count, ...], Meta(max_length=1000)] = ()


class MetricHistory(Request[MetricSeries]):
    """The points of one metric of a run, thinned to about ``limit`` if there are more; only steps from ``first`` to ``last``."""

    operation = "tracking.metric_history"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    run: Key
    key: Key
    limit: Annotated[int, Meta(ge=4, le=1_000_000)] = 1000
    first: Int64 | None = None
    last: Int64 | None = None


class MetricPage(Request[Page[MetricPoint]]):
    """Every point of one metric of a run by instant, step and value, a page at a time; empty when it was never logged."""

    operation = "tracking.metric_page"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    run: Key
    key: Key
    after: Line | None = None
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 25_000


class PackMetrics(Request[int]):
    """Move metric points that have gathered into packed chunks; the engine asks this by itself."""

    operation = "tracking.pack_metrics"
    permission = "run:write"
    audited: ClassVar[bool] = False


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
