"""Logged models: what a run wrote down as a model, before or without its being registered."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from rung.core.records import Count, Id, Instant, Key, Line, Page, Record, Text
from rung.core.requests import Effect, Request
from rung.tracking.records import Dialect, ModelMetric, ParamText, TagChanges, Tags

ModelStatus = Literal["pending", "ready", "failed"]


class LoggedModel(Record):
    """A model that a run wrote down, before or without being registered. Its files are artifacts of the owner ``m-<id>``."""

    id: Id
    experiment_number: Count
    name: Line
    status: ModelStatus
    created_at: Instant
    updated_at: Instant
    created_by: Line
    type: Line = ""
    run: Id | None = None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: tuple[ModelMetric, ...] = ()
    deleted_at: Instant | None = None


class CreateLoggedModel(Request[LoggedModel]):
    """Open a logged model: pending until its files are up. With an ``id`` chosen by the caller, asking twice makes it once."""

    operation = "tracking.create_logged_model"
    permission = "run:write"
    experiment_number: Count = 0
    name: Line = ""
    id: Id | None = None
    type: Line = ""
    run: Id | None = None
    params: dict[Key, ParamText] = {}
    tags: Tags = {}


class GetLoggedModel(Request[LoggedModel]):
    """One logged model by its id."""

    operation = "tracking.get_logged_model"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    model: Id


class UpdateLoggedModel(Request[LoggedModel]):
    """Change a logged model's status, tags or params; a tag given as None is removed, params are written once."""

    operation = "tracking.update_logged_model"
    permission = "run:write"
    model: Id
    status: ModelStatus | None = None
    tags: TagChanges = {}
    params: dict[Key, ParamText] = {}


class DeleteLoggedModel(Request[LoggedModel]):
    """Put a logged model aside."""

    operation = "tracking.delete_logged_model"
    permission = "run:write"
    model: Id


class MeasuredOn(Record):
    """The dataset a model's metrics were measured on; without a digest, any state of it."""

    name: Annotated[str, Meta(min_length=1, max_length=500)]
    digest: Line = ""


class OrderedOn(Record):
    """An order by what a metric was on one dataset."""

    by: Line
    dataset: MeasuredOn


class SearchLoggedModels(Request[Page[LoggedModel]]):
    """Logged models that a filter finds (attributes, metrics, params, tags), sorted, a page at a time.

    A claim about a metric holds of a model if it holds of one of its values; where ``datasets`` are given, of one measured on
    them. Without a claim about metrics they find the models that were measured on them at all.
    """

    operation = "tracking.search_logged_models"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    experiments: Annotated[tuple[Count, ...], Meta(max_length=1000)] = ()
    filter: Text = ""
    datasets: Annotated[tuple[MeasuredOn, ...], Meta(max_length=100)] = ()
    order_by: Annotated[tuple[Line | OrderedOn, ...], Meta(max_length=10)] = ()
    after: Line | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    dialect: Dialect = "rung"
