"""Handlers of evaluation. Evaluations are made by ``registry.evaluate_version``, which knows how to load a version."""

from __future__ import annotations

from rung.core.errors import Invalid
from rung.core.requests import handles
from rung.evaluation import records as r
from rung.evaluation.store import EvaluationStore
from rung.storage.scope import Scope


@handles(r.GetEvaluation)
def get_evaluation(request: r.GetEvaluation, scope: Scope) -> r.Evaluation:
    """One evaluation. Raises NotFound."""
    return EvaluationStore(scope.connection, scope.project).get(request.id)


@handles(r.ListEvaluations)
def list_evaluations(request: r.ListEvaluations, scope: Scope) -> tuple[r.Evaluation, ...]:
    """Evaluations of a model, newest first."""
    return EvaluationStore(scope.connection, scope.project).list(
        request.model, number=request.number, dataset=request.dataset, dataset_number=request.dataset_number, limit=request.limit
    )


@handles(r.CompareEvaluations)
def compare_evaluations(request: r.CompareEvaluations, scope: Scope) -> r.Comparison:
    """How much better the candidate is. Raises NotFound; Invalid for evaluations of different rows or tasks."""
    from rung.evaluation.rows import compare, from_parquet  # noqa: PLC0415 - Polars only for those who compare

    store = EvaluationStore(scope.connection, scope.project)
    candidate, champion = store.get(request.candidate), store.get(request.champion)
    if candidate.task != champion.task:
        raise Invalid(f"A {candidate.task} is compared with a {champion.task} model.", code="evaluation.other_task", hint="Compare alike.")
    rows = from_parquet(scope.blobs.get(candidate.rows_blob)), from_parquet(scope.blobs.get(champion.rows_blob))
    mask = rows[0].where(request.slice)
    found = compare(
        candidate.task, request.metric, *rows, mask, thresholds=(candidate.threshold or 0.5, champion.threshold or 0.5),
        resamples=request.resamples, confidence=request.confidence, seed=request.seed,
    )  # fmt: skip
    return r.Comparison(
        metric=request.metric, slice=request.slice, rows=int(mask.sum()), candidate=found.candidate, champion=found.champion,
        gain=found.gain, interval=r.Interval(low=found.low, high=found.high, confidence=request.confidence),
        resamples=request.resamples, seed=request.seed,
    )  # fmt: skip
