"""What the arms of a deployment have shown, from the log: rows, errors, time, scores, and the labels that have come."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.serving import predictions
from rung.serving.gates import ArmSeen
from rung.serving.gates.shift import distance
from rung.serving.records import Route
from rung.storage.scope import Scope

Floats = NDArray[np.float64]
_FORMER = ("stable", "holdout")  # arms that the stable version answers


@dataclass(frozen=True)
class Seen:
    """Canary and stable version since a revision; ``watermark`` is the newest event time of the deployment since then."""

    canary: ArmSeen
    stable: ArmSeen
    first_event: datetime | None
    watermark: datetime | None
    step_rows: int


def seen(scope: Scope, deployment: str, trial: Route, *, since_revision: int, step_revision: int, labels: pl.DataFrame | None) -> Seen:
    """Evidence about a canary: errors, scores and labels since it began, times since its step began.

    Args:
        labels: columns prediction_id and label (numbers); None when none have come.
    """
    where = pl.col("revision") >= since_revision
    frame = predictions.chosen(scope, deployment, predictions.Wanted(where=where), columns=[], details=True)
    of_trial = (pl.col("arm") == trial.arm) & (pl.col("version") == trial.number) & (pl.col("model") == trial.model)
    totals = [total for total in predictions.totals(scope, deployment) if total.revision >= since_revision]
    mine = [x for x in totals if x.arm == trial.arm and (x.model, x.number) == (trial.model, trial.number)]
    others = [x for x in totals if x.arm in _FORMER]
    step = frame.filter(pl.col("revision") >= step_revision)
    step_canary = step.filter(of_trial)
    return Seen(
        canary=_arm(frame.filter(of_trial), step_canary, sum(x.errors for x in mine), labels),
        stable=_arm(frame.filter(pl.col("arm").is_in(_FORMER)), step.filter(pl.col("arm").is_in(_FORMER)), sum(x.errors for x in others), labels),
        first_event=_instant(step["event_time"].min()),
        watermark=_instant(frame["event_time"].max()),
        step_rows=step_canary.height,
    )  # fmt: skip


def observed(scope: Scope, deployment: str, trial: Route, *, since_revision: int) -> dict[str, Any]:
    """Figures that ``rules.judged`` asks for, over answers of revisions from ``since_revision`` on."""
    held = seen(scope, deployment, trial, since_revision=since_revision, step_revision=since_revision, labels=None)
    spent = (
        held.canary.times_ms.mean() / held.stable.times_ms.mean()
        if held.canary.times_ms.size and held.stable.times_ms.size
        else float("nan")
    )
    return {
        "canary_rows": held.canary.rows,
        "stable_rows": held.stable.rows,
        "canary_errors": held.canary.errors,
        "score_distance": distance(held.stable.scores, held.canary.scores),
        "slowdown": float(spent),
    }


def labels_of(scope: Scope, digest: str) -> pl.DataFrame:
    """Labels out of a Parquet blob: prediction_id, label as a number. Raises Invalid."""
    try:
        frame = pl.read_parquet(io.BytesIO(scope.blobs.get(digest)))
        return frame.select(pl.col("prediction_id").cast(pl.String), pl.col("label").cast(pl.Float64)).drop_nulls()
    except pl.exceptions.PolarsError as error:
        raise Invalid(
            f"The labels are not readable: {str(error).splitlines()[0]}.",
            code="serving.bad_labels",
            hint="Send Parquet with the columns prediction_id and label (numbers).",
        ) from None


def _arm(frame: pl.DataFrame, step: pl.DataFrame, errors: int, labels: pl.DataFrame | None) -> ArmSeen:
    known = frame.join(labels, on="prediction_id", how="inner") if labels is not None else frame.head(0).with_columns(label=pl.lit(0.0))
    known = known.unique("prediction_id", keep="first").filter(pl.col("score").is_finite())
    return ArmSeen(
        rows=frame.height,
        errors=errors,
        scores=frame["score"].drop_nulls().to_numpy().astype(np.float64),
        times_ms=request_times(step),
        labels=known["label"].to_numpy().astype(np.float64),
        label_scores=known["score"].to_numpy().astype(np.float64),
    )


def request_times(frame: pl.DataFrame) -> Floats:
    """Milliseconds a row took, one value a request, from rows with details."""
    requests = frame.group_by("answered_at", "latency_us", "caller", "request_id").agg(rows=pl.len())
    return (requests["latency_us"].cast(pl.Float64) / requests["rows"] / 1000).drop_nulls().to_numpy()


def _instant(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None
