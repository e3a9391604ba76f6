"""How long the canary takes for a row, beside the stable version on the same traffic."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from rung.core.records import Record
from rung.serving.gates.family import PASS_ALPHA, ROLLOUT_GATES, Floats, Look, RolloutGate, told
from rung.serving.rollout_records import GateFinding


class LatencySettings(Record):
    """A quantile of the time of a row, as a multiple of the stable version's, or absolutely."""

    quantile: Annotated[float, Meta(gt=0, lt=1, description="quantile that is compared")] = 0.5
    max_slowdown: Annotated[float, Meta(gt=0, description="largest ratio to the stable version")] = 5.0
    max_ms: Annotated[float, Meta(ge=0, description="largest time of a row, milliseconds; 0: no such limit")] = 0.0


def judge(look: Look, settings: LatencySettings) -> GateFinding:
    """The ratio of the two quantiles between the bounds that order statistics give; absolute times where a limit in ms is set."""
    canary, stable, q = look.canary.times_ms, look.stable.times_ms, settings.quantile
    sure, likely = bounds(canary, q, look.alpha), bounds(canary, q, 2 * PASS_ALPHA)
    if settings.max_ms:
        figure, limit, unit = _quantile(canary, q), settings.max_ms, " ms"
        low, high = sure[0], likely[1]
    else:
        beside, beside_likely = bounds(stable, q, look.alpha), bounds(stable, q, 2 * PASS_ALPHA)
        limit, unit = settings.max_slowdown, " times the stable version's time"
        figure = _over(_quantile(canary, q), _quantile(stable, q))
        low, high = _over(sure[0], beside[1]), _over(likely[1], beside_likely[0])
    outcome = told(failed=low > limit, passed=high <= limit)
    reason = f"The {q:.0%} quantile of a row's time is {_said(figure, low, high, unit)}, limit {limit:g})."
    if outcome == "insufficient" and not figure > limit:
        reason += f" {canary.size} and {stable.size} requests tell too little."
    return GateFinding(
        gate="latency", outcome=outcome, figure=figure, limit=limit, low=low, high=high, rows=look.canary.rows, reason=reason
    )


def bounds(times: Floats, q: float, alpha: float) -> tuple[float, float]:
    """Distribution-free interval of a quantile by order statistics (Conover, Practical Nonparametric Statistics, 3.2).

    Not a number on a side that so few values cannot bound.

    >>> bounds(np.arange(1.0, 101.0), 0.5, 0.05)
    (40.0, 61.0)
    """
    from scipy.special import bdtr  # noqa: PLC0415 - only a look at a canary needs it

    n = times.size
    if n == 0:
        return float("nan"), float("nan")
    ordered, below = np.sort(times), bdtr(np.arange(n + 1), n, q)
    first = int(np.searchsorted(below, alpha / 2, side="right"))  # values that lie below the quantile but for alpha/2
    last = int(np.searchsorted(below, 1 - alpha / 2, side="left")) + 1
    low = float(ordered[first - 1]) if first >= 1 else float("nan")
    return low, float(ordered[last - 1]) if last <= n else float("nan")


def _said(figure: float, low: float, high: float, unit: str) -> str:
    """The figure with the bounds that are known: too few times bound it on one side only, or on none."""
    if figure != figure:  # noqa: PLR0124 - NaN
        return "not known (no times yet"
    low_said, high_said = [f"{bound:.3g}" if bound == bound else "" for bound in (low, high)]  # noqa: PLR0124 - NaN
    between = f"{low_said} to {high_said}" if low_said and high_said else f"at least {low_said}" if low_said else f"at most {high_said}"
    return f"{figure:.3g}{unit} ({between if low_said or high_said else 'no bounds yet'}"


def _quantile(times: Floats, q: float) -> float:
    return float(np.quantile(times, q)) if times.size else float("nan")


def _over(one: float, other: float) -> float:
    return one / other if other > 0 else float("nan")


ROLLOUT_GATES.add("latency", RolloutGate(LatencySettings, judge))
