"""Expected gain of a retraining, measured on newest mature rows, with days as blocks.

Three ways, the first that can be had: a challenger version replayed beside the serving one; a probe, a small model
fitted on the older half of the rows and judged on the newer half only; or the measured loss times a declared share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from rung.registry.records import ModelVersion
from rung.storage.scope import Scope
from rung.value import rules
from rung.value.measuring import days, replayed, threshold_of
from rung.value.records import Interval, ValueMatrix

_ONE_SIDED = 0.90  # two-sided 90 %, so that the lower bound is the one-sided 95 % bound
_FEWEST = 500


@dataclass(frozen=True)
class Gain:
    """Money per row with its interval, and in words how it was found."""

    per_row: Interval
    basis: str


def by_challenger(scope: Scope, matrix: ValueMatrix, rows: pl.DataFrame, serving: ModelVersion, challenger: ModelVersion) -> Gain:
    """Challenger against serving version on the same rows, which must be newer than what the challenger was trained on."""
    label = rows["label"].to_numpy()
    ours = rules.row_values(matrix, rows["score"].to_numpy(), label, threshold_of(serving, matrix))
    theirs = rules.row_values(matrix, replayed(scope, challenger, rows), label, threshold_of(challenger, matrix))
    basis = f"{challenger.model}:{challenger.number} against {serving.model}:{serving.number} on {rows.height} mature rows"
    return Gain(per_row=_mean(theirs - ours, rows), basis=f"{basis}, paired, days as blocks; low is the one-sided 95 % bound")


def by_probe(matrix: ValueMatrix, rows: pl.DataFrame, serving: ModelVersion) -> Gain | None:
    """A small correction of the serving model, fitted on the older half by time, judged on the newer half; None with too few rows."""
    rows = rows.sort("event_time")
    half = rows.height // 2
    older, newer = rows.head(half), rows.slice(half)
    threshold = threshold_of(serving, matrix)
    if half < _FEWEST or threshold is None or older["label"].n_unique() < 2 or newer["label"].n_unique() < 2:  # noqa: PLR2004
        return None
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - only a decision that needs a probe

    names = [field.name for field in serving.signature.inputs if field.name in rows.columns]
    coded = _coded(rows.select([*names, "score"]))
    model = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=15, learning_rate=0.1, min_samples_leaf=100, random_state=0)
    model.fit(coded[:half], older["label"].to_numpy() > 0)
    label = newer["label"].to_numpy()
    theirs = rules.row_values(matrix, model.predict_proba(coded[half:])[:, 1], label, rules.theoretical_threshold(matrix))
    ours = rules.row_values(matrix, newer["score"].to_numpy(), label, threshold)
    basis = f"a probe fitted on the older {half} mature rows against {serving.model}:{serving.number} on the newer {newer.height}"
    return Gain(per_row=_mean(theirs - ours, newer), basis=f"{basis}, days as blocks; low is the one-sided 95 % bound")


def by_loss(matrix: ValueMatrix, rows: pl.DataFrame, own: pl.DataFrame | None, serving: ModelVersion, recoverable: float) -> Gain | None:
    """What is earned less than at evaluation, as share of what a perfect model would earn; None without an evaluation."""
    threshold = threshold_of(serving, matrix)
    if own is None or own.is_empty() or rows.is_empty() or threshold is None:
        return None
    then, _ = _captured(matrix, own["score"].to_numpy(), own["label"].to_numpy(), threshold)
    label = rows["label"].to_numpy()
    now, most = _captured(matrix, rows["score"].to_numpy(), label, threshold)
    if then is None or now is None:
        return None
    possible = rules.perfect(matrix, label) - rules.without_model(matrix, label, classification=True)
    gained = rules.row_values(matrix, rows["score"].to_numpy(), label, threshold) - rules.without_model(matrix, label, classification=True)
    lost = rules.scaled(_mean(then * possible - gained, rows), recoverable)
    basis = f"{recoverable:.0%} (declared) of the loss since evaluation: {now:.1%} of the possible value is earned, {then:.1%} was"
    return Gain(per_row=lost, basis=f"{basis}; possible were {most:.2f} {matrix.currency} a row")


def _captured(matrix: ValueMatrix, score: rules.Floats, label: rules.Floats, threshold: float) -> tuple[float | None, float]:
    nobody = rules.without_model(matrix, label, classification=True)
    possible = float((rules.perfect(matrix, label) - nobody).sum())
    earned = float((rules.row_values(matrix, score, label, threshold) - nobody).sum())
    return (earned / possible if possible > 0 else None), possible / label.size


def _mean(values: rules.Floats, rows: pl.DataFrame) -> Interval:
    return rules.scaled(rules.block_total(values, days(rows), level=_ONE_SIDED), 1 / max(values.size, 1))


def _coded(frame: pl.DataFrame) -> rules.Floats:
    columns = []
    for column in frame.get_columns():
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            columns.append(column.cast(pl.Float64).to_numpy())
        else:
            text = column.cast(pl.String)
            codes = text.rank("dense").cast(pl.Float64)
            columns.append(codes.fill_null(float("nan")).to_numpy())
    return np.column_stack(columns)
