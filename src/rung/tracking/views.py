"""Looking at many runs: saved views, names of columns, sizes of experiments, one metric of many runs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from rung.core.records import Count, Empty, Id, Instant, Key, Line, Record, Text
from rung.core.requests import Effect, Request
from rung.tracking.records import MetricSeries

KeyKind = Literal["metric", "param", "tag"]
ViewName = Annotated[str, Meta(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f]+$")]
Column = Annotated[str, Meta(min_length=1, max_length=260, pattern=r"^[^\x00]+$")]


class SavedView(Record):
    """A way of looking at runs that a person keeps under a name: filter, order, columns, experiment."""

    name: ViewName
    owner: Line
    filter: Text = ""
    order_by: Line = ""
    columns: tuple[Column, ...] = ()
    experiment: Count | None = None
    updated_at: Instant


class SaveView(Request[SavedView]):
    """Keep a view for yourself; the same name again replaces it. Columns are ``metrics.auc``, ``params.depth``, ``tags.team`` or attributes."""

    operation = "tracking.save_view"
    permission = "run:read"
    name: ViewName
    filter: Text = ""
    order_by: Line = ""
    columns: Annotated[tuple[Column, ...], Meta(max_length=100)] = ()
    experiment: Count | None = None


class ListViews(Request[tuple[SavedView, ...]]):
    """Views you have saved in this project, by name."""

    operation = "tracking.list_views"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"


class DeleteView(Request[Empty]):
    """Forget a view of yours."""

    operation = "tracking.delete_view"
    permission = "run:read"
    name: ViewName


class ListKeys(Request[tuple[str, ...]]):
    """Names of metrics, params or tags that runs of some experiments have, by name; ``contains`` ignores case."""

    operation = "tracking.list_keys"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    kind: KeyKind
    experiments: Annotated[tuple[Count, ...], Meta(max_length=1000)] = ()
    contains: Line = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class ExperimentSize(Record):
    """How many runs an experiment has, and when the newest of those that are not deleted began."""

    number: Count
    runs: Count
    deleted: Count
    newest: Id | None = None
    newest_at: Instant | None = None


class SizeExperiments(Request[tuple[ExperimentSize, ...]]):
    """Sizes of experiments by number, in the order asked for; experiments without a run have size 0."""

    operation = "tracking.size_experiments"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    experiments: Annotated[tuple[Count, ...], Meta(max_length=1000)]


class MetricOfRuns(Request[tuple[MetricSeries, ...]]):
    """One metric of many runs, each thinned to about ``limit`` points; runs without the metric are left out."""

    operation = "tracking.metric_of_runs"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    runs: Annotated[tuple[Id, ...], Meta(max_length=1000)]
    key: Key
    limit: Annotated[int, Meta(ge=4, le=10_000)] = 200
