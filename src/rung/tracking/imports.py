"""Requests of those who bring experiments from another tracking server: ids, instants and authors are theirs.

Each can be repeated: what is there already stays, what is missing is added.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from rung.core.records import Count, Digest, Id, Instant, Key, Line, Record, Text
from rung.core.requests import Effect, Request
from rung.tracking.logged import LoggedModel
from rung.tracking.records import (
    ArtifactPath,
    Experiment,
    ExperimentName,
    Input,
    MetricColumns,
    ModelLink,
    Owner,
    ParamText,
    RunContext,
    RunStatus,
    Tags,
)


class ImportedRun(Record):
    """A run as it was elsewhere. Of a long one further pieces may follow, with points alone."""

    id: Id
    name: Line
    status: RunStatus
    started_at: Instant
    created_by: Line
    ended_at: Instant | None = None
    deleted_at: Instant | None = None
    parent: Id | None = None
    context: RunContext = RunContext()
    params: dict[Key, ParamText] = {}
    tags: Tags = {}
    inputs: Annotated[tuple[Input, ...], Meta(max_length=1000)] = ()
    models: Annotated[tuple[ModelLink, ...], Meta(max_length=1000)] = ()
    points: MetricColumns = MetricColumns()


class ImportedArtifact(Record):
    """A stored blob and the name it had."""

    path: ArtifactPath
    digest: Digest
    size_bytes: Count
    media_type: Line = "application/octet-stream"


class RunTally(Record):
    """How much of each kind a run has here."""

    run: Id
    params: Count
    tags: Count
    metrics: Count
    points: Count
    inputs: Count
    models: Count
    artifacts: Count


class ImportExperiment(Request[Experiment]):
    """Make an experiment that was made elsewhere, with its number where that is free; one of the same name is taken as it is."""

    operation = "tracking.import_experiment"
    permission = "project:manage"
    name: ExperimentName
    number: Count | None = None
    note: Text = ""
    tags: Tags = {}
    created_at: Instant
    updated_at: Instant
    deleted: bool = False


class ImportRuns(Request[int]):
    """Enter runs that were made elsewhere, all or none; answers how many were new."""

    operation = "tracking.import_runs"
    permission = "project:manage"
    experiment_number: Count
    runs: Annotated[tuple[ImportedRun, ...], Meta(max_length=1000)]


class ImportLoggedModels(Request[int]):
    """Enter logged models that were made elsewhere, all or none; answers how many were new."""

    operation = "tracking.import_logged_models"
    permission = "project:manage"
    models: Annotated[tuple[LoggedModel, ...], Meta(max_length=1000)]


class ImportArtifacts(Request[int]):
    """Name stored blobs as outputs of a run or a logged model, all or none; answers how many."""

    operation = "tracking.import_artifacts"
    permission = "project:manage"
    owner: Owner
    artifacts: Annotated[tuple[ImportedArtifact, ...], Meta(max_length=1000)]


class TallyRuns(Request[tuple[RunTally, ...]]):
    """How much of each kind some runs have; those that are not there are left out."""

    operation = "tracking.tally_runs"
    permission = "run:read"
    effect: ClassVar[Effect] = "read"
    runs: Annotated[tuple[Id, ...], Meta(max_length=1000)]
