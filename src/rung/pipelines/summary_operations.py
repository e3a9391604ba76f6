"""Handlers of lists of pipelines and runs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from rung.core.records import Page
from rung.core.requests import handles
from rung.pipelines import summaries as s
from rung.pipelines.summary_store import SummaryStore
from rung.storage.scope import Scope

_SHOWN = 20


@handles(s.SummariseRuns)
def summarise_runs(request: s.SummariseRuns, scope: Scope) -> Page[s.RunSummary]:
    """One page of runs, newest first."""
    store = SummaryStore(scope.connection, scope.project)
    runs = store.runs(pipeline=request.pipeline, status=request.status, after=request.after, limit=request.limit)
    return Page(items=tuple(runs), next=runs[-1].id if len(runs) == request.limit else None)


@handles(s.SummarisePipelines)
def summarise_pipelines(request: s.SummarisePipelines, scope: Scope) -> tuple[s.PipelineSummary, ...]:
    """Pipelines that are declared or have run, by name."""
    store = SummaryStore(scope.connection, scope.project)
    known = store.declared(request.pipeline)
    names = [request.pipeline] if request.pipeline else sorted({*known, *store.pipelines()})
    made = (summary(name, known.get(name), store.newest(name, _SHOWN), store.tallied(name, request.runs)) for name in names)
    return tuple(held for held in made if held.declared or held.recent)


def summary(
    name: str, info: dict[str, Any] | None, runs: Sequence[s.RunSummary], tallied: Sequence[tuple[str, float | None]]
) -> s.PipelineSummary:
    """A pipeline with what its newest runs came to; the median is over those that succeeded."""
    took = [seconds for status, seconds in tallied if status == "succeeded" and seconds is not None]
    return s.PipelineSummary(
        name=name,
        doc=str(info["doc"]) if info else "",
        steps=len(info["steps"]) if info else 0,
        params=tuple(str(param["name"]) for param in info["params"]) if info else (),
        declared=info is not None,
        recent=tuple(runs),
        counted=len(tallied),
        succeeded=sum(status == "succeeded" for status, _ in tallied),
        failed=sum(status == "failed" for status, _ in tallied),
        median_s=max(median(took), 0.0) if took else None,
    )
