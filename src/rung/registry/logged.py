"""Records and requests around versions that another tool logged: registering, finding, staging, retiring, renaming."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from rung.core.events import Event
from rung.core.records import Count, Id, Key, Line, ModelName, Number, Page, Record, Text
from rung.core.references import Task
from rung.core.requests import Effect, Request
from rung.registry.records import Class, Model, ModelVersion, Stage, Tags

Dialect = Literal["rung", "mlflow"]
Orders = Annotated[tuple[Line, ...], Meta(max_length=10)]


class Download(Record):
    """Where a version's files are: artifacts of ``owner`` below ``prefix``, or only its ``source`` when they are elsewhere.

    A logged model's files are addressed through its experiment.
    """

    source: Line
    owner: Line = ""
    prefix: Line = ""
    experiment_number: Count | None = None


class RegisterLogged(Request[ModelVersion]):
    """Enter what a source address holds as the next version of a model.

    ``source`` is ``runs:/<run>/<path>``, ``models:/m-<logged model>``, ``models:/<model>/<number>`` (a copy),
    ``mlflow-artifacts:/…``, or an address elsewhere. Files that are kept here are read, never run; what cannot be
    read safely becomes a version that says why it cannot be served.
    """

    operation = "registry.register_logged"
    permission = "model:write"
    effect: ClassVar[Effect] = "work"
    model: ModelName
    source: Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]
    run_id: Id | None = None
    logged_model: Id | None = None
    run_link: Line = ""
    tags: Tags = {}
    description: Text = ""


class GetDownload(Request[Download]):
    """Where a version's files are."""

    operation = "registry.get_download"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    number: Number


class SearchModels(Request[Page[Model]]):
    """Models a filter finds (name, task, created_at, updated_at, created_by, description; tags), by name unless ordered."""

    operation = "registry.search_models"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    filter: Text = ""
    order_by: Orders = ()
    after: Line | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    dialect: Dialect = "rung"


class SearchVersions(Request[Page[ModelVersion]]):
    """Versions of any model that a filter finds, the last changed first unless ordered.

    Attributes: model, number, run, stage, status, format, task, label, source, created_at, updated_at, created_by,
    description, digest; and tags.
    """

    operation = "registry.search_versions"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    filter: Text = ""
    order_by: Orders = ()
    after: Line | None = None
    limit: Annotated[int, Meta(ge=1, le=200_000)] = 100
    dialect: Dialect = "rung"


class LatestVersions(Request[tuple[ModelVersion, ...]]):
    """The newest version of each stage of a model, or of the stages named."""

    operation = "registry.latest_versions"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    stages: Annotated[tuple[Stage, ...], Meta(max_length=10)] = ()


class SetStage(Request[ModelVersion]):
    """Move a version to a stage. The aliases ``staging`` and ``production`` follow the version moved there last.

    With ``archive_others`` the versions that were in the stage are archived. Production of a gated model asks its gates.
    """

    operation = "registry.set_stage"
    permission = "model:promote"
    model: ModelName
    number: Number
    stage: Stage
    archive_others: bool = False


class UpdateVersion(Request[ModelVersion]):
    """Change a version's description or tags; a tag given as None is removed. What nobody knew is said once.

    ``label``, ``task``, ``classes`` and ``threshold`` may be given for a version that lacks them, such as one logged
    with MLflow's client; then it can be gated and monitored. All else of a version never changes.
    """

    operation = "registry.update_version"
    permission = "model:write"
    effect: ClassVar[Effect] = "work"
    model: ModelName
    number: Number
    description: Text | None = None
    tags: dict[Key, Text | None] = {}
    label: Key | None = None
    task: Task | None = None
    classes: tuple[Class, ...] = ()
    threshold: float | None = None


class RenameModel(Request[Model]):
    """Give a model another name; versions, aliases, verdicts, evaluations and lineage go with it. Refused while deployed."""

    operation = "registry.rename_model"
    permission = "model:write"
    model: ModelName
    name: ModelName


class DeleteVersion(Request[ModelVersion]):
    """Retire a version that nothing serves. Its number is never given again; it can be restored until ``rung gc``.

    Aliases that point at it are removed where the caller says so, else they are in the way.
    """

    operation = "registry.delete_version"
    permission = "model:manage"
    model: ModelName
    number: Number
    remove_aliases: bool = False


class RestoreVersion(Request[ModelVersion]):
    """Bring a retired version back."""

    operation = "registry.restore_version"
    permission = "model:manage"
    model: ModelName
    number: Number


class DeleteModel(Request[Model]):
    """Retire a model with its versions and aliases, unless one is served. It can be restored until ``rung gc``."""

    operation = "registry.delete_model"
    permission = "model:manage"
    model: ModelName


class RestoreModel(Request[Model]):
    """Bring a retired model back with the versions that went with it; aliases are set anew."""

    operation = "registry.restore_model"
    permission = "model:manage"
    model: ModelName


class VersionStaged(Event):
    """A version moved to another stage."""

    kind: ClassVar[str] = "registry.version_staged"
    model: str
    number: int
    stage: str
    previous: str


class ModelRenamed(Event):
    """A model has another name."""

    kind: ClassVar[str] = "registry.model_renamed"
    model: str
    previous: str
