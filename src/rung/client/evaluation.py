"""Evaluations and their comparison from Python."""

from __future__ import annotations

from rung.client.transports import Transport
from rung.evaluation import records as r


class EvaluationVerbs:
    """Verbs of evaluation; ``client.registry.evaluate`` makes one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, evaluation: str) -> r.Evaluation:
        """One evaluation."""
        return self._transport.call(r.GetEvaluation(id=evaluation))

    def list(
        self, model: str, *, number: int | None = None, dataset: str | None = None, dataset_number: int | None = None, limit: int = 100
    ) -> tuple[r.Evaluation, ...]:
        """Evaluations of a model, newest first."""
        return self._transport.call(
            r.ListEvaluations(model=model, number=number, dataset=dataset, dataset_number=dataset_number, limit=limit)
        )

    def compare(
        self, candidate: str, champion: str, metric: str, *, slice: str = "", confidence: float = 0.95, resamples: int = 2000, seed: int = 0
    ) -> r.Comparison:
        """A paired bootstrap of two evaluations made on the same dataset version; a gain above 0 is better."""
        return self._transport.call(
            r.CompareEvaluations(
                candidate=candidate, champion=champion, metric=metric, slice=slice, confidence=confidence, resamples=resamples, seed=seed
            )
        )
