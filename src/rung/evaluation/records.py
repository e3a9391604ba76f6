"""Records and requests of evaluation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from rung.core.records import Count, Digest, Id, Instant, Key, Line, ModelName, Name, Number, Record, Share
from rung.core.references import Task
from rung.core.requests import Effect, Request

Scores = dict[str, float]
Confidence = Annotated[float, Meta(gt=0.5, lt=1.0)]
Resamples = Annotated[int, Meta(ge=100, le=20_000)]


class SliceBy(Record):
    """A column to cut the rows by: its values, or with ``bands`` that many quantile bands of its numbers."""

    column: Key
    bands: Annotated[int, Meta(ge=2, le=20)] | None = None


class Interval(Record):
    """An interval that holds the true value with the given confidence."""

    low: float
    high: float
    confidence: Confidence = 0.95


class SliceScores(Record):
    """Scores of the rows that meet one named condition, such as ``origin=JFK``."""

    slice: Line
    column: Key
    rows: Count
    positive_share: Share | None
    scores: Scores
    intervals: dict[str, Interval] = {}


class Evaluation(Record):
    """Scores of a model version on a dataset version. ``rows_blob`` holds label and score of each row, as Parquet."""

    id: Id
    model: ModelName
    number: Number
    dataset: Name
    dataset_number: Number
    task: Task
    scores: Scores
    slices: tuple[SliceScores, ...]
    slice_by: tuple[SliceBy, ...]
    rows: Count
    rows_without_label: Count
    positive_share: Share | None
    threshold: float | None
    rows_blob: Digest
    scoring_s: float
    created_at: Instant
    created_by: Line
    run_id: Id | None = None
    intervals: dict[str, Interval] = {}


class Comparison(Record):
    """How much better (above 0) or worse a candidate is than a champion on the same rows, in units of the metric.

    The sign is turned for metrics of which less is better, so that more is always better here.
    """

    metric: Name
    slice: Line
    rows: Count
    candidate: float
    champion: float
    gain: float
    interval: Interval
    resamples: Count
    seed: Count


class GetEvaluation(Request[Evaluation]):
    """One evaluation."""

    operation = "evaluation.get"
    permission = "evaluation:read"
    effect: ClassVar[Effect] = "read"
    id: Id


class ListEvaluations(Request[tuple[Evaluation, ...]]):
    """Evaluations of a model or of one version of it, newest first."""

    operation = "evaluation.list"
    permission = "evaluation:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    number: Number | None = None
    dataset: Name | None = None
    dataset_number: Number | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class CompareEvaluations(Request[Comparison]):
    """A paired bootstrap of two evaluations made on the same dataset version."""

    operation = "evaluation.compare"
    permission = "evaluation:read"
    effect: ClassVar[Effect] = "read"
    candidate: Id
    champion: Id
    metric: Name
    slice: Line = ""
    confidence: Confidence = 0.95
    resamples: Resamples = 2000
    seed: Count = 0
