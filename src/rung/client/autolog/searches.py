"""Searches over params: the best on the run of the search, all candidates as a table, the first few as runs of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rung.client.attachments import parquet_files
from rung.client.autolog.sessions import Session, plain
from rung.core.clock import SystemClock
from rung.core.ids import new_id
from rung.tracking.records import FinishRun, LogBatch, MetricPoint, RunContext, StartRun

if TYPE_CHECKING:
    from rung.client.autolog.fits import Fit

_clock = SystemClock()
_LONGEST_NAME = 200
_SCORES = ("mean_test_", "std_test_", "mean_train_", "rank_test_", "mean_fit_time", "mean_score_time")


def log_candidates(fit: Fit) -> None:
    """Log what a search has found."""
    search, session = fit.estimator, fit.session
    results = getattr(search, "cv_results_", None)
    if not results:
        return
    best = getattr(search, "best_params_", None)
    if best is not None:
        session.say({f"best_{key}": value for key, value in best.items()})
    score = getattr(search, "best_score_", None)
    session.measure({"candidates": float(len(results["params"])), **({"best_cv_score": float(score)} if score is not None else {})})
    table = {key: [plain(item) if key.startswith("param") else _cell(item) for item in values] for key, values in results.items()}
    table.pop("params", None)
    for path, content in parquet_files({key: _column(values) for key, values in table.items()}, "cv_results.parquet").items():
        session.keep(content, path)
    rank = next((results[key] for key in results if key.startswith("rank_test_")), None)
    order = np.argsort(rank, kind="stable") if rank is not None else np.arange(len(results["params"]))
    for place in order[: fit.options.max_children]:
        _child(session, results, int(place))


def _child(session: Session, results: dict[str, Any], place: int) -> None:
    params = {str(key): plain(value) for key, value in results["params"][place].items()}
    name = ", ".join(f"{key.rpartition('__')[2]}={value}" for key, value in params.items())[:_LONGEST_NAME]
    scores = {key: _cell(values[place]) for key, values in results.items() if key.startswith(_SCORES)}
    points = tuple(MetricPoint(key=key, value=float(value)) for key, value in scores.items() if value is not None)
    run, now = session.run, _clock.now()
    known = run.known
    started = StartRun(
        experiment=known.experiment if known else session.options.experiment, name=name or "candidate", id=new_id(), params=params,
        tags={"rung.autolog": "sklearn"}, context=known.context if known else RunContext(), parent=run.id, started_at=now,
    )  # fmt: skip
    run.ask(started)
    run.ask(LogBatch(run=str(started.id), batch=new_id(), metrics=points))
    run.ask(FinishRun(run=str(started.id), status="succeeded", ended_at=now))


def _cell(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float, np.integer, np.floating)) else None


def _column(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    return values if len(kinds) <= 1 else [None if value is None else str(value) for value in values]
