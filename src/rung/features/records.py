"""Records and requests of features."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.errors import Invalid
from rung.core.records import Count, Digest, Id, Instant, Line, Name, Number, Page, Record, Text
from rung.core.requests import Effect, Request

Aggregate = Literal["count", "sum", "mean"]
Mode = Literal["known", "event"]
Seconds = Annotated[float, Meta(gt=0)]
FeatureStatus = Literal["present", "expired", "missing"]
Limit = Annotated[int, Meta(ge=1, le=1000)]


class Feature(Record):
    """One column of a view: a source column as it is, or an aggregate of it over a trailing window.

    A windowed value at time t is over rows of the entity with event time in [t - window_s, t] that were known at t; nulls
    are left out. ``count`` without a column counts rows. Nothing to aggregate: count 0, sum and mean null.
    """

    name: Annotated[str, Meta(min_length=1, max_length=250)]
    column: str | None = None
    aggregate: Aggregate | None = None
    window_s: Seconds | None = None

    def __post_init__(self) -> None:
        if (self.aggregate is None) != (self.window_s is None):
            raise Invalid(
                f"Feature {self.name!r} has one of aggregate and window_s.", code="features.half_window", hint="Give both, or neither."
            )
        if self.aggregate in {"sum", "mean"} and self.column is None:
            raise Invalid(
                f"Feature {self.name!r} takes the {self.aggregate} of no column.", code="features.no_column", hint="Name a column."
            )

    @property
    def source(self) -> str:
        """The source column; a plain feature without one has the column of its own name."""
        return self.column or self.name


class FeatureView(Record):
    """Features of an entity computed from one dataset.

    Args:
        name: name of the view.
        entity: key columns, named alike in the dataset and in label rows.
        dataset: where the rows come from.
        time_column: when what a row tells happened.
        created_column: when the row became known; a row where it is null never did.
        ttl_s: a row older than this at the label's time is expired and reads as null; None: never.
        features: what the view offers.
        mode: ``known`` shows a row only once it was known; default when there is a created column. ``event`` only breaks ties by it.
        zone: time zone in which times without one are meant; without it they are refused.
        versions: ``latest`` reads the latest dataset version, ``all`` every version as one history, where the later wins.
    """

    name: Name
    entity: Annotated[tuple[str, ...], Meta(min_length=1)]
    dataset: Name
    time_column: str
    created_column: str | None = None
    ttl_s: Seconds | None = None
    features: Annotated[tuple[Feature, ...], Meta(min_length=1)]
    mode: Mode | None = None
    zone: Line | None = None
    versions: Literal["latest", "all"] = "latest"
    description: Text = ""

    def __post_init__(self) -> None:
        names = [*self.entity, *(feature.name for feature in self.features)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Invalid(f"View {self.name!r} has {twice[0]!r} twice.", code="features.twice", hint="Rename one of them.")
        if self.mode == "known" and self.created_column is None:
            raise Invalid(
                f"View {self.name!r} cannot be in mode known without a created column.",
                code="features.no_created",
                hint="Name it, or use mode event.",
            )

    @property
    def effective_mode(self) -> Mode:
        """The mode given, else ``known`` when there is a created column."""
        return self.mode or ("known" if self.created_column else "event")


class AppliedView(Record):
    """A view as it is kept: one number for each different definition under its name."""

    view: FeatureView
    number: Number
    digest: Digest
    applied_at: Instant
    applied_by: str


class ViewRef(Record):
    """A view by name, at a number or the latest, read from given or the latest versions of its dataset."""

    name: Name
    number: Number | None = None
    dataset_number: Number | None = None


class ViewUse(Record):
    """Which definition and rows of a view were joined, in which mode, and how many label rows met a value."""

    view: Name
    number: Number
    digest: Digest
    dataset: Name
    dataset_numbers: tuple[Number, ...]
    mode: Mode
    ttl_s: float | None
    matched: Count
    note: Line = ""


class Joined(Record):
    """Label rows with their features, as a Parquet blob; ``matched`` of a use counts rows where the view had a value."""

    digest: Digest
    size_bytes: Count
    rows: Count
    uses: tuple[ViewUse, ...]


class TrainingSet(Record):
    """The manifest of a training set: which labels met which views, so that it can be made again."""

    dataset: Name
    number: Number
    labels: Digest
    label_rows: Count
    time_column: str
    uses: tuple[ViewUse, ...]
    created_at: Instant
    created_by: str


class TrainingSetMade(Record):
    """The dataset version of a training set, as name and number."""

    dataset: Name
    number: Number


class FeatureValue(Record):
    """A value, when it happened, and whether it is present, expired by the view's TTL, or missing."""

    name: str
    value: Any
    event_time: Instant | None
    status: FeatureStatus


class FeatureRow(Record):
    """The features of one entity key as of an instant."""

    key: dict[str, Any]
    values: tuple[FeatureValue, ...]


class ApplyView(Request[AppliedView]):
    """Declare a view; the same definition again is the same number."""

    operation = "features.apply_view"
    permission = "feature:write"
    view: FeatureView


class GetView(Request[AppliedView]):
    """A view, at a number or the latest."""

    operation = "features.get_view"
    permission = "feature:read"
    effect: ClassVar[Effect] = "read"
    name: Name
    number: Number | None = None


class ListViews(Request[Page[AppliedView]]):
    """The latest definition of every view, by name."""

    operation = "features.list_views"
    permission = "feature:read"
    effect: ClassVar[Effect] = "read"
    limit: Limit = 100
    after: Name | None = None


class JoinFeatures(Request[Joined]):
    """Join views to label rows, point-in-time correct. ``labels`` is a Parquet blob; ``zone`` is for naive label times."""

    operation = "features.join"
    permission = "feature:read"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    labels: Digest
    views: Annotated[tuple[ViewRef, ...], Meta(min_length=1)]
    time_column: str
    zone: Line | None = None


class MakeTrainingSet(Request[TrainingSetMade]):
    """Join views to label rows, and keep the result as a dataset version with lineage and manifest.

    Labels are a Parquet blob, or a version of a dataset.
    """

    operation = "features.make_training_set"
    permission = "feature:write"
    effect: ClassVar[Effect] = "work"
    name: Name
    labels: Digest | None = None
    labels_dataset: Name | None = None
    labels_number: Number | None = None
    views: Annotated[tuple[ViewRef, ...], Meta(min_length=1)]
    time_column: str
    zone: Line | None = None
    note: Line = ""
    run: Id | None = None

    def __post_init__(self) -> None:
        if (self.labels is None) == (self.labels_dataset is None):
            raise Invalid(
                "A training set needs labels: a blob, or a dataset.",
                code="features.labels",
                hint="Give exactly one of labels and labels_dataset.",
            )


class GetTrainingSet(Request[TrainingSet]):
    """The manifest of a training set."""

    operation = "features.get_training_set"
    permission = "feature:read"
    effect: ClassVar[Effect] = "read"
    dataset: Name
    number: Number | None = None


class ReadFeatures(Request[tuple[FeatureRow, ...]]):
    """Features of entity keys as of an instant (default now), under the same rules as the join."""

    operation = "features.read"
    permission = "feature:read"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    views: Annotated[tuple[ViewRef, ...], Meta(min_length=1)]
    keys: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1, max_length=1000)]
    as_of: Instant | None = None
