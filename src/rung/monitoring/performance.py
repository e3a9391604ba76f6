"""Realised performance: predictions met by the labels that had arrived, against the model's own evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from rung.monitoring.records import Metric, Performance
from rung.monitoring.rules import more_is_better
from rung.stats.outcomes import Estimate, confusion, estimate
from rung.stats.samples import Floats

_BINARY: tuple[Metric, ...] = ("auc", "log_loss", "brier", "accuracy")
_REGRESSION: tuple[Metric, ...] = ("mae", "rmse")


@dataclass(frozen=True)
class Standard:
    """What performance is held against: metric, threshold, and the model's own estimate of the metric."""

    metric: Metric
    threshold: float = 0.5
    own: Estimate | None = None


def labelled_arrays(frame: pl.DataFrame) -> tuple[Floats, Floats]:
    """Labels and scores of the rows that have both."""
    known = frame.filter(pl.col("label").is_not_null() & pl.col("score").is_finite())
    return known["label"].to_numpy().astype(np.float64), known["score"].to_numpy().astype(np.float64)


def measured(frame: pl.DataFrame, standard: Standard, *, start: datetime, end: datetime, as_of: datetime, final: bool) -> Performance:
    """Performance of predictions (columns score, label with null where unknown, model, version) over a period."""
    labels, scores = labelled_arrays(frame)
    binary = standard.metric in _BINARY
    metrics: dict[str, float] = {}
    for name in _BINARY if binary else _REGRESSION:
        found = estimate(name, labels, scores, standard.threshold) if labels.size else None
        if found is not None:
            metrics[name] = found.value
    if binary and labels.size:
        metrics |= {name: float(count) for name, count in confusion(labels, scores, standard.threshold).items()}
    value = estimate(standard.metric, labels, scores, standard.threshold) if labels.size else None
    loss = _loss(standard, value)
    return Performance(
        start=start,
        end=end,
        as_of=as_of,
        rows=len(frame),
        labelled=labels.size,
        labelled_share=labels.size / len(frame) if len(frame) else 0.0,
        metric=standard.metric,
        value=value.value if value else None,
        low=value.low if value else None,
        high=value.high if value else None,
        reference=standard.own.value if standard.own else None,
        loss=loss.value if loss else None,
        loss_low=loss.low if loss else None,
        loss_high=loss.high if loss else None,
        metrics=metrics,
        base_rate=float(labels.mean()) if labels.size else None,
        mean_score=float(scores.mean()) if scores.size else None,
        model=frame["model"][-1] if len(frame) else None,
        version=int(frame["version"][-1]) if len(frame) else None,
        final=final,
    )


def _loss(standard: Standard, value: Estimate | None) -> Estimate | None:
    if value is None or standard.own is None:
        return None
    difference = standard.own.value - value.value
    error = float(np.hypot(standard.own.error, value.error))
    return Estimate(difference if more_is_better(standard.metric) else -difference, error)
