"""Realised performance: predictions met by the labels that had arrived, against the model's own evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from rung.monitoring.records import ArmSlice, Metric, Performance
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


def of_version(frame: pl.DataFrame, model: str, number: int) -> pl.DataFrame:
    """Rows that one model version answered, in whichever arm."""
    return frame.filter((pl.col("model") == model) & (pl.col("version") == number))


def measured(
    frame: pl.DataFrame, standard: Standard, model: str, number: int, *, start: datetime, end: datetime, as_of: datetime, final: bool
) -> Performance:
    """Performance of predictions (columns score, label with null where unknown, model, version) over a period.

    All rows count, but what is lost against the standard is measured on those of its version.
    """
    labels, scores = labelled_arrays(frame)
    binary = standard.metric in _BINARY
    metrics: dict[str, float] = {}
    for name in _BINARY if binary else _REGRESSION:
        found = estimate(name, labels, scores, standard.threshold) if labels.size else None
        if found is not None:
            metrics[name] = found.value
    if binary and labels.size:
        metrics |= {name: float(count) for name, count in confusion(labels, scores, standard.threshold).items()}
    value = _estimated(standard, frame)
    mine = of_version(frame, model, number)
    own = value if len(mine) == len(frame) else _estimated(standard, mine)
    loss = _loss(standard, own)
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
        model=model if len(frame) else None,
        version=number if len(frame) else None,
        final=final,
    )


def slices_of(frame: pl.DataFrame, standards: Mapping[tuple[str, int], Standard]) -> tuple[ArmSlice, ...]:
    """What each arm did with each version, where there is more than one pair: the most rows first."""
    parts = frame.partition_by("arm", "model", "version", as_dict=True)
    if len(parts) < 2:  # noqa: PLR2004 - one has nothing beside it
        return ()
    found = []
    for (arm, model, version), rows in parts.items():
        standard = standards[(str(model), int(version))]
        labels, _ = labelled_arrays(rows)
        value, mean = _estimated(standard, rows), rows["score"].fill_nan(None).mean()
        found.append(
            ArmSlice(
                arm=str(arm), model=str(model), version=int(version), rows=len(rows), labelled=labels.size, metric=standard.metric,
                mean_score=float(mean) if isinstance(mean, int | float) else None, value=value.value if value else None,
                low=value.low if value else None, high=value.high if value else None, reference=standard.own.value if standard.own else None,
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda item: (-item.rows, item.arm, item.version)))


def _estimated(standard: Standard, frame: pl.DataFrame) -> Estimate | None:
    labels, scores = labelled_arrays(frame)
    return estimate(standard.metric, labels, scores, standard.threshold) if labels.size else None


def _loss(standard: Standard, value: Estimate | None) -> Estimate | None:
    if value is None or standard.own is None:
        return None
    difference = standard.own.value - value.value
    error = float(np.hypot(standard.own.error, value.error))
    return Estimate(difference if more_is_better(standard.metric) else -difference, error)
