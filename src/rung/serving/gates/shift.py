"""How far the canary's scores lie from those of the stable version."""

from __future__ import annotations

from math import log, sqrt
from typing import Annotated

import numpy as np
from msgspec import Meta

from rung.core.records import Record
from rung.serving.gates.family import PASS_ALPHA, ROLLOUT_GATES, Floats, Look, RolloutGate, told
from rung.serving.rollout_records import GateFinding


class ShiftSettings(Record):
    """How different scores may be."""

    max_distance: Annotated[float, Meta(ge=0, le=1, description="largest Kolmogorov-Smirnov distance of the two distributions")] = 0.5


def judge(look: Look, settings: ShiftSettings) -> GateFinding:
    """Kolmogorov-Smirnov distance within Dvoretzky-Kiefer-Wolfowitz bands of both samples."""
    canary, stable, limit = look.canary.scores, look.stable.scores, settings.max_distance
    figure = distance(stable, canary)
    slack = band(canary.size, look.alpha / 2) + band(stable.size, look.alpha / 2)
    room = band(canary.size, PASS_ALPHA) + band(stable.size, PASS_ALPHA)
    low, high = max(figure - slack, 0.0), min(figure + room, 1.0)
    outcome = told(failed=low > limit, passed=high <= limit)
    reason = (
        f"Scores lie {figure:.3f} from the stable version's ({low:.3f} to {high:.3f}, limit {limit:g}) over {canary.size} rows."
        if canary.size and stable.size
        else f"{canary.size} rows of the canary and {stable.size} of the stable version cannot be compared (limit {limit:g})."
    )
    return GateFinding(gate="shift", outcome=outcome, figure=figure, limit=limit, low=low, high=high, rows=canary.size, reason=reason)


def distance(one: Floats, other: Floats) -> float:
    """Largest difference of the two empirical distribution functions; not a number when a side is empty.

    >>> distance(np.array([0.0, 1.0]), np.array([0.0, 1.0, 2.0, 3.0]))
    0.5
    """
    if not one.size or not other.size:
        return float("nan")
    ordered = np.sort(one), np.sort(other)
    at = np.concatenate(ordered)
    gaps = np.searchsorted(ordered[0], at, side="right") / one.size - np.searchsorted(ordered[1], at, side="right") / other.size
    return float(np.abs(gaps).max())


def band(rows: int, alpha: float) -> float:
    """Half width around an empirical distribution function that holds everywhere at once (Massart, Annals of Probability 18, 1990)."""
    return sqrt(log(2 / alpha) / (2 * rows)) if rows else 1.0


ROLLOUT_GATES.add("shift", RolloutGate(ShiftSettings, judge))
