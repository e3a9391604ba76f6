"""How right the canary is, as far as labels have come."""

from __future__ import annotations

from math import isfinite
from typing import Annotated

import numpy as np
from msgspec import Meta

from rung.core.records import Record
from rung.serving.gates.family import PASS_ALPHA, ROLLOUT_GATES, ArmSeen, Floats, Look, RolloutGate, told
from rung.serving.rollout_records import GateFinding

_FEWEST = 30


class PerformanceSettings(Record):
    """How much worse the canary may be; labels come late, so that they are waited for only on demand."""

    max_worse: Annotated[float, Meta(ge=0, description="how much larger its mean squared error may be than the stable version's")] = 0.1
    min_labels: Annotated[int, Meta(ge=30, description="labelled rows each version needs")] = 100
    needed: Annotated[bool, Meta(description="whether a step waits for labels")] = False


def judge(look: Look, settings: PerformanceSettings) -> GateFinding:
    """Mean squared error (Brier score of probabilities) over the stable version's, less 1, with a normal interval."""
    canary, stable = _losses(look.canary), _losses(look.stable)
    limit, rows = settings.max_worse, min(canary.size, stable.size)
    if rows < max(_FEWEST, settings.min_labels) or not stable.mean() > 0:
        reason = f"{canary.size} and {stable.size} labels are fewer than the {settings.min_labels} each that tell something."
        if not settings.needed:
            reason += " The step does not wait for them."
        return GateFinding(
            gate="performance",
            outcome="insufficient",
            figure=float("nan"),
            limit=limit,
            rows=canary.size,
            needed=settings.needed,
            reason=reason,
        )
    beside = float(stable.mean())
    figure = float(canary.mean()) / beside - 1
    # error of canary - (1 + limit) * stable at the limit, in units of the stable version's mean
    error = float(np.sqrt(canary.var(ddof=1) / canary.size + (1 + limit) ** 2 * stable.var(ddof=1) / stable.size)) / beside
    low, high = figure - _z(look.alpha) * error, figure + _z(PASS_ALPHA) * error
    # by few labels equal versions often look worse by a tenth; a step then waits for more of them
    outcome = told(failed=low > limit, passed=isfinite(figure) and figure <= limit)
    reason = f"Its squared error is {figure:+.1%} beside the stable version's ({low:+.1%} to {high:+.1%}, limit {limit:+.0%}) by {canary.size} labels."
    return GateFinding(gate="performance", outcome=outcome, figure=figure, limit=limit, low=low, high=high, rows=canary.size, reason=reason)


def _losses(arm: ArmSeen) -> Floats:
    return (arm.labels - arm.label_scores) ** 2


def _z(alpha: float) -> float:
    from scipy.special import ndtri  # noqa: PLC0415 - only a look at a canary needs it

    return -float(ndtri(alpha))


ROLLOUT_GATES.add("performance", RolloutGate(PerformanceSettings, judge))
