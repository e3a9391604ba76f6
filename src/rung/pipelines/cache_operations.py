"""Handlers of the cache and of explanations."""

from __future__ import annotations

from rung.core.errors import NotFound
from rung.core.records import Page
from rung.core.requests import handles
from rung.pipelines import caching as c
from rung.pipelines.cache_store import CacheStore
from rung.pipelines.explaining import changes, fresh, likest, reason_of
from rung.pipelines.store import CacheEntry, PipelineStore
from rung.storage.scope import Scope

_DIGESTS = ("code", "environment")


@handles(c.ListCache)
def list_cache(request: c.ListCache, scope: Scope) -> Page[c.CachedResult]:
    """One page of results, newest first."""
    found, place = _store(scope).results(step=request.step, pipeline=request.pipeline, after=request.after, limit=request.limit)
    return Page(items=tuple(found), next=place)


@handles(c.GetCached)
def get_cached(request: c.GetCached, scope: Scope) -> c.CachedDetail:
    """A result with the parts of its key. Raises NotFound; Invalid for digits that several keys begin with."""
    store = _store(scope)
    result, parts = store.result(request.cache_key)
    return c.CachedDetail(result=result, parts=parts, details=store.details(parts.get(name) for name in _DIGESTS))


@handles(c.ClearCache)
def clear_cache(request: c.ClearCache, scope: Scope) -> c.Cleared:
    """How many results were dropped. Raises NotFound for a key the cache does not have."""
    store = _store(scope)
    key = store.result(request.cache_key)[0].cache_key if request.cache_key else None
    return c.Cleared(count=store.clear(step=request.step, pipeline=request.pipeline, before=request.before, key=key))


@handles(c.ExplainPipelineRun)
def explain(request: c.ExplainPipelineRun, scope: Scope) -> tuple[c.StepExplanation, ...]:
    """Explanations of a run's steps, in the order of its plan. Raises NotFound."""
    store = PipelineStore(scope.connection, scope.project)
    run = store.run(request.id)
    steps = [step for step in store.steps(run.id) if request.step in {None, step.key}]
    if request.step is not None and not steps:
        raise NotFound(
            f"Run {request.id} has no step {request.step!r}.", code="pipelines.no_step", hint="`rung pipeline status RUN` lists its steps."
        )
    return tuple(
        c.StepExplanation(
            key=step.key, step=step.step, status=step.status, reason=step.reason, changes=step.changes, compared_with=step.compared_with,
            cached_from=step.cached_from, undeclared=step.undeclared,
        )
        for step in steps
    )  # fmt: skip


@handles(c.PreviewCache)
def preview_cache(request: c.PreviewCache, scope: Scope) -> tuple[c.KeyAnswer, ...]:
    """What the cache has for each key, in the order asked."""
    store = _store(scope)
    hits = store.hits(asked.cache_key for asked in request.asked)
    earlier: dict[str, list[CacheEntry]] = {}
    answers = []
    for asked in request.asked:
        hit = hits.get(asked.cache_key)
        if hit is not None and fresh(hit.created_at, asked.ttl_s, scope.now):
            answers.append(c.KeyAnswer(node=asked.node, hit=hit, reason="same code, parameters, inputs and environment"))
            continue
        if hit is not None:
            answers.append(c.KeyAnswer(node=asked.node, reason=reason_of((), old_s=asked.ttl_s), compared_with=hit.step_run))
            continue
        if asked.step not in earlier:
            earlier[asked.step] = store.earlier(asked.step)
        answers.append(_missed(asked, likest(asked.parts, earlier[asked.step]), store, request.details))
    return tuple(answers)


def _missed(asked: c.KeyAsked, before: CacheEntry | None, store: CacheStore, details: dict[str, object]) -> c.KeyAnswer:
    if before is None:
        return c.KeyAnswer(node=asked.node, reason=reason_of((), earlier=False))
    known = store.details(parts.get(name) for parts in (before.parts, asked.parts) for name in _DIGESTS)
    found = changes(asked.parts, before.parts, known | details)
    return c.KeyAnswer(node=asked.node, reason=reason_of(found)[:1000], changes=found, compared_with=before.step_run)


def _store(scope: Scope) -> CacheStore:
    return CacheStore(scope.connection, scope.project)
