"""Answering a batch: split it between the arms, score it, log it, and only then give the scores back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.clock import to_micros
from rung.core.errors import Invalid, RungError
from rung.core.ids import new_id
from rung.serving.frames import Batch, pack_columns
from rung.serving.live import LiveDeployment, LiveRoute
from rung.serving.rules import arms

_SHADOWS = ThreadPoolExecutor(1, thread_name_prefix="rung-shadow")
MAX_ROWS = 100_000
_MAX_YEAR = 9999


@dataclass(frozen=True)
class Answer:
    """Scores of a batch in the order of its rows. ``scores`` is (n,), or (n, classes) for a multiclass model."""

    ids: list[str]
    scores: NDArray[np.float64]
    versions: NDArray[np.int64]
    canary: NDArray[np.bool_]
    live: LiveDeployment


def answer(
    live: LiveDeployment, rows: pl.DataFrame, *, ids: Sequence[str] | None = None, times_us: NDArray[np.int64] | None = None
) -> Answer:
    """Score and log a batch.

    Args:
        live: the deployment.
        rows: one column an input of the model's signature; others are refused by the model.
        ids: prediction ids the caller chose; made here otherwise.
        times_us: event time of each row, microseconds since 1970; now otherwise.

    Raises:
        Invalid: the rows do not fit the signature, or there are none, or too many.
        Unavailable: the log cannot be written; nothing is answered unlogged.
    """
    n = rows.height
    if not 0 < n <= MAX_ROWS:
        raise Invalid(
            f"A request holds 1 to {MAX_ROWS} rows, not {n}.", code="serving.bad_size", hint="Send batches of a thousand rows or so."
        )
    keys = _ids(n) if ids is None else list(ids)
    if len(keys) != n or len(set(keys)) != n or not all(0 < len(key) <= 200 for key in keys):  # noqa: PLR2004 - a column's width
        raise Invalid(
            "Prediction ids must be as many as rows, different, and 1 to 200 characters.",
            code="serving.bad_ids",
            hint="Leave them out to get fresh ones.",
        )
    now = to_micros(datetime.now(UTC))
    times = np.full(n, now, dtype=np.int64) if times_us is None else np.asarray(times_us, dtype=np.int64)
    if times.shape != (n,):
        raise Invalid(f"There are {times.size} event times for {n} rows.", code="serving.bad_times", hint="Send one for each row, or none.")
    other = live.other
    taken = arms(keys, other.route.share) if other and other.route.arm == "canary" else np.zeros(n, dtype=np.bool_)
    scores: NDArray[np.float64] | None = None
    batches: list[Batch] = []
    for route, mask in ((live.stable, ~taken), (other, taken)):
        if route is None or not mask.any():
            continue
        whole = bool(mask.all())
        part = rows if whole else rows.filter(pl.Series(mask))
        found, batch = _scored(live, route, part, keys if whole else [k for k, m in zip(keys, mask, strict=True) if m], times[mask], now)
        scores = np.empty((n, *found.shape[1:]), dtype=np.float64) if scores is None else scores
        scores[mask] = found
        batches.append(batch)
    live.log.append(*batches)
    if other and other.route.arm == "shadow":
        _SHADOWS.submit(_shadow, live, other, rows, keys, times, now)
    stable_number = live.stable.version.number
    versions = np.where(taken, other.version.number if other else stable_number, stable_number).astype(np.int64)
    assert scores is not None  # noqa: S101 - n > 0, so one arm has rows
    return Answer(ids=keys, scores=scores, versions=versions, canary=taken, live=live)


def settle() -> None:
    """Wait for the shadows submitted so far."""
    _SHADOWS.submit(lambda: None).result()


def _scored(
    live: LiveDeployment, route: LiveRoute, rows: pl.DataFrame, ids: list[str], times: NDArray[np.int64], now: int
) -> tuple[NDArray[np.float64], Batch]:
    begun = time.perf_counter()
    scores = np.asarray(route.predictor.predict_scores(rows), dtype=np.float64)
    elapsed = int((time.perf_counter() - begun) * 1e6)
    return scores, _batch(live, route, rows, ids, times, now, scores, elapsed)


def _batch(
    live: LiveDeployment, route: LiveRoute, rows: pl.DataFrame, ids: list[str], times: NDArray[np.int64], now: int,
    scores: NDArray[np.float64], elapsed_us: int,
) -> Batch:  # fmt: skip
    logged = scores if scores.ndim == 1 else scores.max(axis=1)
    return Batch(
        deployment=live.deployment.name,
        model=route.route.model,
        number=route.route.number,
        revision=live.deployment.revision,
        arm=route.route.arm,
        answered_us=now,
        elapsed_us=elapsed_us,
        ids=ids,
        times_us=np.ascontiguousarray(times, dtype="<i8").tobytes(),
        scores=np.ascontiguousarray(logged, dtype="<f8").tobytes(),
        columns=pack_columns(rows),
    )


def _shadow(live: LiveDeployment, route: LiveRoute, rows: pl.DataFrame, ids: list[str], times: NDArray[np.int64], now: int) -> None:
    try:
        live.log.append(_scored(live, route, rows, ids, times, now)[1])
    except RungError:
        live.log.append(failure(live, route, rows.height, now))


def failure(live: LiveDeployment, route: LiveRoute, rows: int, now: int) -> Batch:
    """A batch that stands for rows an arm failed on."""
    empty = np.empty(0)
    failed = _batch(live, route, pl.DataFrame(), [], empty.astype(np.int64), now, empty, 0)
    failed.errors = rows
    return failed


def _ids(n: int) -> list[str]:
    base = new_id()
    return [f"{base[:26]}{i:06x}" for i in range(n)]
