"""A shadow beside the version that answers: agreement, differences of scores, errors and time."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from rung.serving.arm_records import ArmFigures
from rung.serving.comparing_records import Disagreement, ShadowComparison
from rung.serving.gates.errors import lower_bound, upper_bound
from rung.serving.gates.family import Floats
from rung.serving.gates.latency import bounds
from rung.serving.gates.shift import distance
from rung.serving.judging import request_times
from rung.serving.predictions import Wanted
from rung.serving.records import Route

_QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
_WORST = 10
_FEWEST = 100
_ALPHA = 0.05
NAN = float("nan")


def between_revisions(first: int, last: int | None) -> Wanted:
    """Rows answered by a revision or a later one, up to another."""
    since = pl.col("revision") >= first
    return Wanted(where=since if last is None else since & (pl.col("revision") <= last))


def figures_of(frame: pl.DataFrame, route: Route, since: int, *, errors: int) -> ArmFigures:
    """What one arm did from a revision on, out of a log's rows with details."""
    mine = frame.filter((pl.col("arm") == route.arm) & (pl.col("revision") >= since))
    requests = mine.group_by("answered_at", "latency_us", "caller", "request_id").agg(pl.len())["latency_us"].drop_nulls().to_numpy() / 1000
    middle, high, highest = (float(np.quantile(requests, q)) if requests.size else NAN for q in (0.5, 0.95, 0.99))
    last, mean = mine["answered_at"].max(), mine["score"].mean()
    return ArmFigures(
        arm=route.arm, model=route.model, number=route.number, share=route.share, since_revision=since, rows=mine.height, errors=errors,
        p50_ms=middle, p95_ms=high, p99_ms=highest, mean_score=float(mean) if isinstance(mean, float) else NAN,
        last=last if isinstance(last, datetime) else None,
    )  # fmt: skip


def compared(
    deployment: str, frame: pl.DataFrame, *, shadow: Route, beside: Route, since: int, errors: int, threshold: float
) -> ShadowComparison:
    """The comparison of a log's rows (its own columns and details)."""
    of_shadow = (pl.col("arm") == "shadow") & (pl.col("model") == shadow.model) & (pl.col("version") == shadow.number)
    mine, others = frame.filter(of_shadow), frame.filter(pl.col("arm") != "shadow")
    pairs = (
        mine.select("prediction_id", "event_time", shadow="score")
        .join(others.select("prediction_id", answered="score"), on="prediction_id", how="inner")
        .unique("prediction_id", keep="first", maintain_order=True)
        .filter(pl.col("shadow").is_finite() & pl.col("answered").is_finite())
    )
    one, other = pairs["answered"].to_numpy().astype(float), pairs["shadow"].to_numpy().astype(float)
    gaps, n = other - one, pairs.height
    same = int(np.count_nonzero((one >= threshold) == (other >= threshold)))
    time, time_beside = request_times(mine), request_times(others)
    low, high = bounds(time, 0.5, _ALPHA)[0], bounds(time, 0.5, _ALPHA)[1]
    low_beside, high_beside = bounds(time_beside, 0.5, _ALPHA)
    worst = pairs.with_columns(gap=(pl.col("shadow") - pl.col("answered")).abs()).sort("gap", descending=True).head(_WORST)
    agreement = same / n if n else NAN
    rows = mine.height + errors
    start, end = pairs["event_time"].min(), pairs["event_time"].max()
    return ShadowComparison(
        deployment=deployment, model=shadow.model, number=shadow.number, beside_model=beside.model, beside_number=beside.number,
        since_revision=since, rows=mine.height, pairs=n, errors=errors, error_share=errors / rows if rows else NAN, threshold=threshold,
        agreement=agreement, agreement_low=lower_bound(same, n, _ALPHA / 2) if n else NAN,
        agreement_high=upper_bound(same, n, _ALPHA / 2) if n else NAN,
        mean_difference=float(gaps.mean()) if n else NAN, mean_absolute=float(np.abs(gaps).mean()) if n else NAN,
        largest=float(np.abs(gaps).max()) if n else NAN, correlation=_correlation(one, other), distance=distance(one, other),
        quantiles={f"{q:g}": float(np.quantile(gaps, q)) for q in _QUANTILES} if n else {},
        time_ms=_median(time), beside_time_ms=_median(time_beside), slowdown=_over(_median(time), _median(time_beside)),
        slowdown_low=_over(low, high_beside), slowdown_high=_over(high, low_beside),
        worst=tuple(
            Disagreement(id=x["prediction_id"], answered=x["answered"], shadow=x["shadow"], event_time=x["event_time"])
            for x in worst.iter_rows(named=True)
        ),
        conclusion=_concluded(n, agreement, errors, rows),
        first_event=start if isinstance(start, datetime) else None, last_event=end if isinstance(end, datetime) else None,
    )  # fmt: skip


def _concluded(pairs: int, agreement: float, errors: int, rows: int) -> str:
    if errors:
        return f"The shadow failed on {errors} of {rows} rows."
    if pairs < _FEWEST:
        return f"{pairs} pairs tell little; wait for {_FEWEST}."
    return f"The shadow agrees with what was answered on {agreement:.1%} of {pairs} rows."


def _correlation(one: Floats, other: Floats) -> float:
    if one.size < 2 or not one.std() or not other.std():  # noqa: PLR2004 - a correlation takes two points
        return NAN
    return float(np.corrcoef(one, other)[0, 1])


def _median(times: Floats) -> float:
    return float(np.median(times)) if times.size else NAN


def _over(one: float, other: float) -> float:
    return one / other if other > 0 else NAN
