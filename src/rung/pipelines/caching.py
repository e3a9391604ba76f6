"""Records and requests of the cache of step results."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.records import Count, Id, Instant, Key, Line, Name, Page, Record
from rung.core.requests import Effect, Request
from rung.pipelines.records import Artifact, Change, Seconds, StepStatus

CacheKey = Annotated[str, Meta(min_length=1, max_length=80)]


class CachedResult(Record):
    """What the cache holds under a key: outputs, and the step run that made them."""

    cache_key: str
    step: Key
    created_at: Instant
    outputs: tuple[Artifact, ...]
    size_bytes: Count
    step_run: Id
    pipeline: str = ""
    number: Count = 0
    pipeline_run: Id | None = None


class CachedDetail(Record):
    """A cached result with the parts of its key and what the digests among them stand for."""

    result: CachedResult
    parts: dict[str, Any]
    details: dict[str, Any]


class Cleared(Record):
    """How many results were dropped from the cache; their bytes go with the next collection of garbage."""

    count: Count


class StepExplanation(Record):
    """Why a step of a run was executed or not, and what differs from the result it was compared with."""

    key: Key
    step: Key
    status: StepStatus
    reason: Line
    changes: tuple[Change, ...] = ()
    compared_with: Id | None = None
    cached_from: Id | None = None
    undeclared: tuple[Line, ...] = ()


class KeyAsked(Record):
    """A key that a run would ask the cache for, with its parts; the result may be ``ttl_s`` old."""

    node: Key
    step: Key
    cache_key: CacheKey
    parts: dict[str, Any]
    ttl_s: Seconds | None = None


class KeyAnswer(Record):
    """What the cache has for a key: a result, or what differs from the likest one that it has."""

    node: Key
    reason: Line
    hit: CachedResult | None = None
    changes: tuple[Change, ...] = ()
    compared_with: Id | None = None


class StepPreview(Record):
    """What a run would do with a step: take its result from the cache, run it, or what cannot be told before it runs."""

    key: Key
    step: Key
    would: Literal["cached", "run", "unknown"]
    reason: Line
    changes: tuple[Change, ...] = ()
    compared_with: Id | None = None


class ListCache(Request[Page[CachedResult]]):
    """Cached results, newest first."""

    operation = "pipelines.list_cache"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    step: Key | None = None
    pipeline: Name | None = None
    after: Key | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class GetCached(Request[CachedDetail]):
    """One cached result with the parts of its key, by the key or its first digits."""

    operation = "pipelines.get_cached"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    cache_key: CacheKey


class ClearCache(Request[Cleared]):
    """Drop results from the cache: of a step, of a pipeline, older than an instant, under one key, or all.

    Runs keep their outputs; the steps are executed when they are asked for again.
    """

    operation = "pipelines.clear_cache"
    permission = "pipeline:write"
    step: Key | None = None
    pipeline: Name | None = None
    before: Instant | None = None
    cache_key: CacheKey | None = None


class ExplainPipelineRun(Request[tuple[StepExplanation, ...]]):
    """Why the steps of a run, or one of them, were executed or not. By id or ``pipeline:number``."""

    operation = "pipelines.explain"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    id: Key
    step: Key | None = None


class PreviewCache(Request[tuple[KeyAnswer, ...]]):
    """What the cache would answer to keys, without a run. ``details`` says what digests in their parts stand for."""

    operation = "pipelines.preview_cache"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    asked: Annotated[tuple[KeyAsked, ...], Meta(max_length=5000)]
    details: dict[str, Any] = {}
