"""Predictions met by their labels, as frames: what served rows were worth, and what another version would have said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.monitoring import labels
from rung.monitoring.sources import ask, model_version, scores
from rung.monitoring.store import MonitoringStore
from rung.registry.records import ModelVersion
from rung.serving import predictions
from rung.serving.records import Deployment, ListDeployments, ListRevisions
from rung.storage.scope import Scope
from rung.value.records import ValueMatrix
from rung.value.rules import Floats, row_values, theoretical_threshold

_LOG = ["prediction_id", "event_time", "model", "version", "arm", "score"]


@dataclass(frozen=True)
class Served:
    """Rows a deployment answered for one model, with ``label`` null where none has arrived, and the shadow's answers.

    ``held_out`` are the holdout's rows, whichever model is the stable one; those of this model are among ``rows`` too.
    """

    rows: pl.DataFrame
    shadow: pl.DataFrame
    held_out: pl.DataFrame


def deployment_of(scope: Scope, model: str) -> Deployment | None:
    """The deployment that serves a model, production ones first; one that did so before if none does now."""
    deployments: tuple[Deployment, ...] = ask(scope, ListDeployments())
    held = sorted(deployments, key=lambda item: (item.environment != "production", item.name))
    for item in held:
        if any(route.model == model for route in item.routes):
            return item
    for item in held:
        if any(route.model == model for revision in ask(scope, ListRevisions(deployment=item.name)) for route in revision.routes):
            return item
    return None


def served(
    scope: Scope,
    deployment: str,
    model: str,
    start: datetime | None,
    end: datetime | None,
    as_of: datetime,
    columns: list[str] | None = None,
) -> Served:
    """What was answered in [start, end) by event time, with the labels known at ``as_of``."""
    frame = predictions.read(scope, deployment, start, end, columns=columns or [])
    mine, held = pl.col("model") == model, pl.col("arm") == "holdout"
    frame = frame.filter((mine | held) & (pl.col("event_time") <= as_of))
    known = labels.known(scope, deployment, as_of, since=start)
    known = known.with_columns(label=labels.numbers(known["label"], _positive(scope, deployment)))
    joined = frame.join(known.select("prediction_id", "label"), on="prediction_id", how="left")
    shadow = pl.col("arm") == "shadow"
    return Served(rows=joined.filter(mine & ~shadow), shadow=joined.filter(mine & shadow), held_out=joined.filter(held))


def _positive(scope: Scope, deployment: str) -> str | int | float | bool | None:
    def look(inside: Scope) -> str | int | float | bool | None:
        monitor = MonitoringStore(inside.connection, inside.project).find_monitor(deployment)
        return None if monitor is None else monitor.positive

    return look(scope) if scope.open_connection is not None else scope.read(look)


def threshold_of(version: ModelVersion, matrix: ValueMatrix) -> float | None:
    """The score from which a version's answer is acted on; the matrix's own when it was registered without one."""
    if version.task == "regression":
        return None
    return theoretical_threshold(matrix) if version.threshold is None else version.threshold


def thresholds(scope: Scope, model: str, numbers: list[int], matrix: ValueMatrix) -> dict[int, float | None]:
    """The threshold of each version."""
    return {number: threshold_of(model_version(scope, model, number), matrix) for number in numbers}


def values(matrix: ValueMatrix, rows: pl.DataFrame, limits: dict[int, float | None]) -> Floats:
    """Money of labelled rows, each under its own version's threshold."""
    total = np.zeros(rows.height)
    version, score, label = rows["version"].to_numpy(), rows["score"].to_numpy(), rows["label"].to_numpy()
    for number, limit in limits.items():
        mine = version == number
        total[mine] = row_values(matrix, score[mine], label[mine], limit)
    return total


def days(rows: pl.DataFrame) -> NDArray[np.int64]:
    """The day of each row, as a number: the block its money is drawn with."""
    return rows["event_time"].dt.epoch("d").cast(pl.Int64).to_numpy()


def money(scope: Scope, matrix: ValueMatrix, rows: pl.DataFrame) -> Floats:
    """Money of labelled rows of any models, in order, each under its own version's threshold."""
    total = np.zeros(rows.height)
    for model in sorted(set(rows["model"])):
        mine = (rows["model"] == model).to_numpy()
        part = rows.filter(pl.col("model") == model)
        total[mine] = values(matrix, part, thresholds(scope, model, sorted(set(part["version"])), matrix))
    return total


def replayed(scope: Scope, version: ModelVersion, rows: pl.DataFrame) -> Floats:
    """What a version says now about logged inputs, shape (n,)."""
    return np.asarray(scores(scope, version, rows.drop([name for name in _LOG if name in rows.columns])), dtype=np.float64)


def span(rows: pl.DataFrame) -> tuple[datetime, datetime]:
    """Event times of the first and the last row."""
    first: datetime = rows["event_time"].min()  # type: ignore[assignment]  # a time column
    last: datetime = rows["event_time"].max()  # type: ignore[assignment]
    return first, last
