"""What lists of pipelines and runs show: few fields of many runs, without plans, so that a long list costs little."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from rung.core.records import Count, Id, Instant, Line, Name, Number, Page, Record, Text
from rung.core.requests import Effect, Request
from rung.pipelines.records import Cause, Params, PipelineRunStatus, Seconds


class RunSummary(Record):
    """A pipeline run in a list: how it stands, why it was started, how long it took."""

    id: Id
    number: Number
    pipeline: Name
    status: PipelineRunStatus
    params: Params
    cause: Cause
    created_at: Instant
    created_by: Line
    started_at: Instant | None = None
    ended_at: Instant | None = None
    failed_step: str = ""
    reproduces: Id | None = None


class PipelineSummary(Record):
    """A pipeline in a list. ``recent`` are its newest runs, newest first; the counts and the median are over as many as were asked for.

    ``declared`` is false for a pipeline that has runs but that the project is not known to define (any more).
    """

    name: Name
    doc: Text = ""
    steps: Count = 0
    params: tuple[Line, ...] = ()
    declared: bool = True
    recent: tuple[RunSummary, ...] = ()
    counted: Count = 0
    succeeded: Count = 0
    failed: Count = 0
    median_s: Seconds | None = None


class SummariseRuns(Request[Page[RunSummary]]):
    """Pipeline runs without their plans, newest first."""

    operation = "pipelines.summarise_runs"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    pipeline: Name | None = None
    status: PipelineRunStatus | None = None
    after: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class SummarisePipelines(Request[tuple[PipelineSummary, ...]]):
    """Every pipeline, or the one named, with its newest runs, how many succeeded and how long they took, over the last ``runs``."""

    operation = "pipelines.summarise"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    runs: Annotated[int, Meta(ge=1, le=200)] = 50
    pipeline: Name | None = None
