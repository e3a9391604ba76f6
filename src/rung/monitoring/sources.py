"""What monitoring takes from the floors below: predictions, model versions, reference rows, evaluations, models.

Everything is asked for in the caller's project; what is missing there is missing here too.
"""

from __future__ import annotations

import contextlib
import io
import threading
from datetime import datetime
from typing import TypeVar

import polars as pl

from rung.core.errors import NotFound
from rung.core.requests import Request, handler_of
from rung.data.records import DatasetVersion, Expectation, GetExpectations
from rung.data.records import GetVersion as GetDatasetVersion
from rung.evaluation.records import Evaluation, ListEvaluations
from rung.monitoring.columns import SCORE, Reference, column_reference
from rung.monitoring.records import Monitor
from rung.registry.records import GetVersion, ModelVersion
from rung.serving import predictions
from rung.stats.samples import Floats
from rung.storage.scope import Scope

A = TypeVar("A")
_MOST_REFERENCE_ROWS = 200_000
_MOST_REFERENCES = 8
_references: dict[tuple[str, ...], Reference] = {}
_lock = threading.Lock()


def ask(scope: Scope, request: Request[A]) -> A:
    """The answer of a lower floor's read handler, on this scope's transaction or on a snapshot."""
    handler = handler_of(type(request))
    if scope.open_connection is not None:
        return handler(request, scope)  # type: ignore[no-any-return]  # the table of handlers is untyped
    return scope.read(lambda inside: handler(request, inside))  # type: ignore[no-any-return]


def answered(
    scope: Scope, deployment: str, start: datetime | None, end: datetime | None, *, columns: list[str] | None = None
) -> pl.DataFrame:
    """What callers were answered, by event time [start, end): rows of every arm but the shadow, whose answers nobody hears."""
    return predictions.chosen(scope, deployment, predictions.Wanted(start, end, where=pl.col("arm") != "shadow"), columns=columns)


def model_version(scope: Scope, model: str, number: int) -> ModelVersion:
    """A version of a model. Raises NotFound."""
    return ask(scope, GetVersion(model=model, number=number))


def lacking(scope: Scope, frame: pl.DataFrame) -> dict[str, tuple[tuple[str, int], ...]]:
    """Inputs that not every version among the rows takes, with those that do not; nearly always none."""
    held = list(frame.select("model", "version").unique().sort("model", "version").iter_rows())
    if len(held) == 1:
        return {}
    takes: dict[tuple[str, int], set[str]] = {}
    for model, number in held:
        with contextlib.suppress(NotFound):  # a purged version's inputs are not known, so its rows count everywhere
            takes[model, number] = {field.name for field in model_version(scope, model, number).signature.inputs}
    every = set().union(*takes.values())
    return {name: missing for name in every if (missing := tuple(key for key, own in takes.items() if name not in own))}


def reference_version(scope: Scope, monitor: Monitor, version: ModelVersion) -> DatasetVersion:
    """The dataset version a deployment's rows are compared with: the monitor's own, else the model's reference or training rows."""
    if monitor.reference_dataset:
        return ask(scope, GetDatasetVersion(dataset=monitor.reference_dataset, number=monitor.reference_number))
    by_role = {use.role: use for use in reversed(version.datasets)}
    use = by_role.get("reference") or by_role.get("train") or by_role.get("input") or by_role.get("test")
    if use is None:
        raise NotFound(
            f"{version.model}:{version.number} names no dataset it was trained on, so there is nothing to compare with.",
            code="monitoring.no_reference",
            hint="Register the model with its datasets, or give the monitor a reference.",
        )
    return ask(scope, GetDatasetVersion(dataset=use.dataset, number=use.number))


def reference(scope: Scope, monitor: Monitor, version: ModelVersion) -> Reference:
    """The reference of a monitor for one model version, kept in memory between runs."""
    held, scored = reference_version(scope, monitor, version), own_evaluation(scope, version)
    columns = ",".join(monitor.columns)
    key = (scope.project, held.digest, version.digest, scored.id if scored else "", str(monitor.window_days), columns)
    with _lock:
        found = _references.get(key)
    if found is None:
        found = _built(scope, monitor, version, held)
        with _lock:
            _references[key] = found
            while len(_references) > _MOST_REFERENCES:
                _references.pop(next(iter(_references)))
    return found


def _built(scope: Scope, monitor: Monitor, version: ModelVersion, held: DatasetVersion) -> Reference:
    frame = dataset_frame(scope, held)
    inputs = [field.name for field in version.signature.inputs]
    wanted = [name for name in (monitor.columns or inputs) if name in frame.columns]
    time_column = held.time_column if held.time_column in frame.columns else None
    if time_column:
        frame = frame.sort(time_column)
    if len(frame) > _MOST_REFERENCE_ROWS:
        frame = frame.gather_every(-(-len(frame) // _MOST_REFERENCE_ROWS))
    blocks = _blocks(frame, time_column, monitor.window_days)
    kept = list(dict.fromkeys([*wanted, *[n for n in (time_column, version.label) if n and n in frame.columns]]))
    frame = frame.select(kept)
    if time_column:
        frame = frame.with_columns(_utc(pl.col(time_column), frame[time_column].dtype))
    scored = own_scores(scope, version)
    return Reference(
        name=f"{held.dataset}:{held.number}",
        rows=len(frame),
        columns={name: column_reference(name, frame[name], blocks=blocks) for name in wanted},
        score=None if scored is None else column_reference(SCORE, scored["score"], blocks=blocks),
        frame=frame,
        time_column=time_column,
        label=version.label if version.label in frame.columns else None,
    )


def _utc(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    column = column.cast(pl.Datetime("us")) if dtype == pl.Date else column.dt.cast_time_unit("us")
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    return column.dt.convert_time_zone("UTC") if zone else column.dt.replace_time_zone("UTC")


def _blocks(frame: pl.DataFrame, time_column: str | None, window_days: int) -> int:
    """Windows' lengths that the reference spans; 0 when its rows have no time."""
    if time_column is None or frame.is_empty():
        return 0
    first, last = frame[time_column].min(), frame[time_column].max()
    if first is None or last is None:
        return 0
    return int((last - first).total_seconds() // (window_days * 86_400))  # type: ignore[operator, union-attr]  # a time column


def dataset_frame(scope: Scope, version: DatasetVersion) -> pl.DataFrame:
    """All rows of a dataset version."""
    from rung.data import frames  # noqa: PLC0415 - only a run of a monitor reads data

    return frames.scan(scope.blobs, version).collect()


def own_evaluation(scope: Scope, version: ModelVersion) -> Evaluation | None:
    """The model version's own evaluation: the oldest on its test rows, else the oldest on any."""
    held = ask(scope, ListEvaluations(model=version.model, number=version.number))
    tests = {(use.dataset, use.number) for use in version.datasets if use.role == "test"}
    of_tests = [item for item in held if (item.dataset, item.dataset_number) in tests]
    return (of_tests or list(held) or [None])[-1]  # type: ignore[list-item]  # newest first, so the last is the oldest


def own_scores(scope: Scope, version: ModelVersion) -> pl.DataFrame | None:
    """Label (0 or 1, or the value) and score of every row of the model's own evaluation; None without one."""
    held = own_evaluation(scope, version)
    if held is None or version.task == "multiclass":
        return None
    return pl.read_parquet(io.BytesIO(scope.blobs.get(held.rows_blob))).select("label", score="score_0")


def scores(scope: Scope, version: ModelVersion, frame: pl.DataFrame) -> Floats:
    """What the registered model says about rows now. Raises Invalid, NotFound."""
    from rung.registry.loading import predictor  # noqa: PLC0415 - only a diagnosis loads a model

    return predictor(scope, version).predict_scores(frame, extra="drop")


def expectations(scope: Scope, dataset: str) -> tuple[Expectation, ...]:
    """The expectations of a dataset in force."""
    return ask(scope, GetExpectations(dataset=dataset)).expectations
