"""Records and requests of the registry."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.errors import Conflict
from rung.core.events import Event
from rung.core.notebook import facts_html
from rung.core.records import Count, Digest, Empty, Id, Instant, Int64, Key, Line, ModelName, Name, Number, Page, Record, Text
from rung.core.references import DatasetUse, LockDigest, Task
from rung.core.requests import Effect, Request
from rung.registry.engine_records import ServingEngine as ServingEngine

CHAMPION = "champion"
STAGED: tuple[str, ...] = ("staging", "production")
Alias = Annotated[str, Meta(pattern=r"^(?!(?:[lL][aA][tT][eE][sS][tT]|[vV]?[0-9]+)$)[A-Za-z0-9_-]{1,250}$(?!\n)")]
FilePath = Annotated[str, Meta(max_length=500, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$(?!\n)")]
FormatName = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$(?!\n)")]
Label = Annotated[str, Meta(max_length=250, pattern=r"^[^\x00]*$")]
Stage = Literal["none", "staging", "production", "archived"]
VersionStatus = Literal["ready", "pending", "failed"]
Class = str | Int64 | bool
Tags = dict[Key, Text]


class Field(Record):
    """One column of a signature; ``dtype`` in the words of datasets (Int64, Float64, String, Boolean …).

    ``nullable``: a value may be missing. ``optional``: the column may be left out as a whole, and is null then.
    """

    name: Key
    dtype: Line
    nullable: bool = False
    optional: bool = False


class Signature(Record):
    """Input columns a model asks for, in its order, and the columns of its scores."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...] = ()


class ModelFile(Record):
    """One file of a model version."""

    path: FilePath
    digest: Digest
    size_bytes: Count


class Model(Record):
    """A named model, its newest version and its aliases.

    ``task`` is None until a version knows it. A gated model's champion moves by promotion only; that of a model made
    through the MLflow protocol moves freely until somebody sets gate rules.
    """

    id: Id
    name: ModelName
    task: Task | None
    description: Text
    tags: dict[str, str]
    created_at: Instant
    created_by: Line
    updated_at: Instant | None = None
    gated: bool = True
    deleted_at: Instant | None = None
    versions: Count = 0
    newest: Number | None = None
    aliases: dict[str, int] = {}

    def _repr_html_(self) -> str:
        """How a notebook shows a model."""
        about: dict[str, Any] = {"task": self.task, "versions": self.versions, "newest": self.newest, "about": self.description[:300]}
        return facts_html(self.name, {"model": about, "aliases": self.aliases, "tags": self.tags})


class ModelVersion(Record):
    """One immutable state of a model: its files, what it eats and gives, and everything it was made from.

    ``classes`` are the label values in the order of the scores; for binary tasks the second is the positive one.
    ``digest`` covers files, format, signature, classes and threshold, so equal digests answer alike.
    ``engine``: what serves it, if it was compiled. One logged elsewhere may have a ``source`` only; ``unservable`` says so.
    """

    id: Id
    model: ModelName
    number: Number
    digest: Digest
    format: FormatName
    files: tuple[ModelFile, ...]
    size_bytes: Count
    signature: Signature
    task: Task | None
    label: Label
    classes: tuple[Class, ...]
    threshold: float | None
    datasets: tuple[DatasetUse, ...]
    libraries: dict[str, str]
    created_at: Instant
    created_by: Line
    updated_at: Instant | None = None
    source: Line = ""
    logged_model: Id | None = None
    flavors: tuple[Line, ...] = ()
    stage: Stage = "none"
    status: VersionStatus = "ready"
    input_example: LockDigest = ""
    unservable: Line = ""
    run_link: Line = ""
    run_id: Id | None = None
    pipeline_run_id: Id | None = None
    lock: LockDigest = ""
    git_commit: Line = ""
    git_dirty: bool = False
    tags: dict[str, str] = {}
    description: Text = ""
    aliases: tuple[str, ...] = ()
    deleted_at: Instant | None = None
    purged: bool = False
    engine: ServingEngine | None = None

    @property
    def known_task(self) -> Task:
        """What it predicts. Raises Conflict while nobody said."""
        if self.task is None:
            raise Conflict(
                f"Nobody said what {self.model}:{self.number} predicts.",
                code="registry.no_task",
                hint=f"`rung model describe {self.model} {self.number} --task binary`, or another task.",
            )
        return self.task

    def _repr_html_(self) -> str:
        """How a notebook shows a version."""
        about: dict[str, Any] = {"task": self.task, "label": self.label, "format": self.format, "aliases": ", ".join(self.aliases)}
        about |= {"digest": self.digest[:20], "bytes": self.size_bytes, "about": self.description[:300]}
        about |= {"cannot be served": self.unservable} if self.unservable else {}
        groups: dict[str, Any] = {"version": about, "inputs": {field.name: field.dtype for field in self.signature.inputs}}
        facts = groups | {"tags": self.tags}
        return facts_html(f"{self.model}:{self.number}", facts)


class AliasMove(Record):
    """One move of an alias. ``verdict`` let it pass; ``override_reason`` says why it moved without one."""

    id: Id
    model: ModelName
    alias: Alias
    number: Number | None
    previous: Number | None
    at: Instant
    by: Line
    reason: Text = ""
    verdict: Id | None = None
    override_reason: Text = ""


class GateRule(Record):
    """A gate and its params. One that does not block is told in the verdict and stops nothing."""

    gate: Name
    params: dict[str, Any] = {}
    blocking: bool = True


class SliceRule(Record):
    """A column that evaluations of the model are cut by: its values, or quantile bands of its numbers."""

    column: Key
    bands: Annotated[int, Meta(ge=2, le=20)] | None = None


class GateRules(Record):
    """What a version of a model must pass. ``set_at`` is None while the defaults of its task hold."""

    model: ModelName
    rules: tuple[GateRule, ...]
    slices: tuple[SliceRule, ...] = ()
    dataset: Name | None = None
    set_at: Instant | None = None
    set_by: Line = ""


class GateResult(Record):
    """What one gate found on one claim: measured value, limit, interval of the difference where one was drawn."""

    gate: Name
    passed: bool
    blocking: bool
    reason: Line
    metric: Line = ""
    slice: Line = ""
    value: float | None = None
    limit: float | None = None
    low: float | None = None
    high: float | None = None


class Verdict(Record):
    """The gates' answer for one version, with reasons; ``champion`` is the version it was compared with."""

    id: Id
    model: ModelName
    number: Number
    passed: bool
    reasons: tuple[Line, ...]
    gates: tuple[GateResult, ...]
    champion: Number | None
    dataset: Name
    dataset_number: Number
    evaluation: Id
    champion_evaluation: Id | None
    created_at: Instant
    created_by: Line


class ModelCard(Record):
    """A model version told in Markdown from its records; ``gaps`` names what no record says."""

    model: ModelName
    number: Number
    markdown: str
    gaps: tuple[Line, ...]


class CreateModel(Request[Model]):
    """Make a model. Registering a version makes its model too, so this is only needed for the description."""

    operation = "registry.create_model"
    permission = "model:write"
    name: ModelName
    task: Task | None = None
    description: Text = ""
    tags: Tags = {}
    gated: bool = True


class UpdateModel(Request[Model]):
    """Change a model's description or tags; a tag given as None is removed."""

    operation = "registry.update_model"
    permission = "model:write"
    model: ModelName
    description: Text | None = None
    tags: dict[Key, Text | None] = {}


class ListModels(Request[tuple[Model, ...]]):
    """Models of the project, by name; with ``deleted`` those that can be restored instead."""

    operation = "registry.list_models"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    deleted: bool = False


class GetModel(Request[Model]):
    """One model with its aliases."""

    operation = "registry.get_model"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName


class RegisterVersion(Request[ModelVersion]):
    """Enter stored files as the next version of a model. The files are loaded once, so a broken model is refused here.

    Of a logged model whose files they are, the run is known, too.
    """

    operation = "registry.register_version"
    permission = "model:write"
    effect: ClassVar[Effect] = "work"
    model: ModelName
    format: Name
    files: Annotated[tuple[ModelFile, ...], Meta(min_length=1, max_length=100)]
    signature: Signature
    task: Task
    label: Label
    classes: tuple[Class, ...] = ()
    threshold: float | None = None
    datasets: tuple[DatasetUse, ...] = ()
    libraries: dict[str, str] = {}
    input_example: LockDigest = ""
    run_id: Id | None = None
    logged_model: Id | None = None
    pipeline_run_id: Id | None = None
    lock: LockDigest = ""
    git_commit: Line = ""
    git_dirty: bool = False
    tags: Tags = {}
    description: Text = ""


class GetVersion(Request[ModelVersion]):
    """A version by number or alias; the newest when neither is given. ``live`` leaves retired ones out."""

    operation = "registry.get_version"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    number: Number | None = None
    alias: Alias | None = None
    live: bool = False


class ListVersions(Request[Page[ModelVersion]]):
    """Versions of a model, newest first; with ``deleted`` those that were retired instead."""

    operation = "registry.list_versions"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    before: Number | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    deleted: bool = False


class EvaluateVersion(Request[str]):
    """Score a version on a dataset version, whole and by slice; answers the id of the stored evaluation."""

    operation = "registry.evaluate_version"
    permission = "model:run"
    effect: ClassVar[Effect] = "work"
    model: ModelName
    number: Number
    dataset: Name
    dataset_number: Number | None = None
    slices: Annotated[tuple[SliceRule, ...], Meta(max_length=20)] | None = None


class SetGateRules(Request[GateRules]):
    """Say what versions of a model must pass, in place of what was said before."""

    operation = "registry.set_gate_rules"
    permission = "model:manage"
    model: ModelName
    rules: Annotated[tuple[GateRule, ...], Meta(min_length=1, max_length=50)]
    slices: Annotated[tuple[SliceRule, ...], Meta(max_length=20)] = ()
    dataset: Name | None = None


class GetGateRules(Request[GateRules]):
    """The rules in force for a model."""

    operation = "registry.get_gate_rules"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName


class CheckGate(Request[Verdict]):
    """Put a version before its model's gates on a dataset version, beside the champion on the same rows."""

    operation = "registry.check_gate"
    permission = "model:run"
    effect: ClassVar[Effect] = "work"
    model: ModelName
    number: Number
    dataset: Name | None = None
    dataset_number: Number | None = None
    champion: Alias = CHAMPION


class GetVerdict(Request[Verdict]):
    """One verdict."""

    operation = "registry.get_verdict"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    id: Id


class ListVerdicts(Request[tuple[Verdict, ...]]):
    """Verdicts on a model or on one version, newest first."""

    operation = "registry.list_verdicts"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    number: Number | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class Promote(Request[AliasMove]):
    """Move an alias to a version that passed its gates, or with a reason past them, which needs ``model:override``."""

    operation = "registry.promote"
    permission = "model:promote"
    model: ModelName
    number: Number
    alias: Alias = CHAMPION
    reason: Text = ""
    override_reason: Annotated[str, Meta(min_length=8, max_length=10_000)] | None = None


class SetAlias(Request[AliasMove]):
    """Point a free alias at a version. ``expected`` makes it compare-and-set: 0 means that it points nowhere yet."""

    operation = "registry.set_alias"
    permission = "model:promote"
    model: ModelName
    alias: Alias
    number: Number
    expected: Count | None = None
    reason: Text = ""


class RemoveAlias(Request[Empty]):
    """Take an alias away."""

    operation = "registry.remove_alias"
    permission = "model:promote"
    model: ModelName
    alias: Alias
    reason: Text = ""


class ListAliasMoves(Request[tuple[AliasMove, ...]]):
    """Which version held which alias when, newest first."""

    operation = "registry.list_alias_moves"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    alias: Alias | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class GetCard(Request[ModelCard]):
    """A version's card: what it is, what it was made from, how it scores, who let it pass."""

    operation = "registry.get_card"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    number: Number | None = None


class ModelVersionRegistered(Event):
    """A version was registered."""

    kind: ClassVar[str] = "registry.version_registered"
    model: str
    number: int
    run_id: Id | None = None
    pipeline_run_id: Id | None = None


class VersionEvaluated(Event):
    """A version was scored on a dataset version."""

    kind: ClassVar[str] = "registry.version_evaluated"
    model: str
    number: int
    evaluation: Id
    dataset: str
    dataset_number: int


class GatePassed(Event):
    """A version passed its gates."""

    kind: ClassVar[str] = "registry.gate_passed"
    model: str
    number: int
    verdict: Id
    champion: int | None = None
    pipeline_run_id: Id | None = None


class GateFailed(Event):
    """A version was refused by its gates."""

    kind: ClassVar[str] = "registry.gate_failed"
    model: str
    number: int
    verdict: Id
    champion: int | None = None
    pipeline_run_id: Id | None = None


class AliasMoved(Event):
    """An alias points at another version."""

    kind: ClassVar[str] = "registry.alias_moved"
    model: str
    alias: str
    number: int | None
    previous: int | None = None
    verdict: Id | None = None
    override: bool = False
