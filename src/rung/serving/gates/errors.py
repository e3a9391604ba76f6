"""Rows that the canary fails on."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from rung.core.records import Record, Share
from rung.serving.gates.family import PASS_ALPHA, ROLLOUT_GATES, Look, RolloutGate, told
from rung.serving.rollout_records import GateFinding


class ErrorSettings(Record):
    """How many rows may fail."""

    max_share: Annotated[Share, Meta(description="largest share of rows that may fail")] = 0.02
    max_excess: Annotated[Share, Meta(description="how much above the stable version's own share that may lie")] = 0.02


def judge(look: Look, settings: ErrorSettings) -> GateFinding:
    """The share of failed rows with exact binomial bounds; the limit follows a stable version that fails on rows itself."""
    failed, rows = look.canary.errors, look.canary.rows + look.canary.errors
    beside = look.stable.errors / max(look.stable.rows + look.stable.errors, 1)
    limit = max(settings.max_share, beside + settings.max_excess)
    share = failed / rows if rows else 0.0
    low, high = lower_bound(failed, rows, look.alpha), upper_bound(failed, rows, PASS_ALPHA)
    said = f"{failed} of {rows} rows failed ({share:.2%}, limit {limit:.2%}"
    outcome = told(failed=low > limit, passed=rows > 0 and high <= limit)
    end = {"failed": f"surely above {low:.2%}", "passed": f"at most {high:.2%}", "insufficient": f"up to {high:.2%} is possible still"}
    return GateFinding(
        gate="errors", outcome=outcome, figure=share, limit=limit, low=low, high=high, rows=rows, reason=f"{said}; {end[outcome]})."
    )


def upper_bound(hits: int, rows: int, alpha: float) -> float:
    """Largest share under which so few hits have a probability of at least alpha (Clopper and Pearson, Biometrika 26, 1934).

    >>> round(upper_bound(0, 300, 0.05), 4)
    0.0099
    """
    from scipy.special import betaincinv  # noqa: PLC0415 - only a look at a canary needs it

    return 1.0 if hits >= rows else float(betaincinv(hits + 1, rows - hits, 1 - alpha))


def lower_bound(hits: int, rows: int, alpha: float) -> float:
    """Smallest share under which so many hits have a probability of at least alpha."""
    return 0.0 if hits == 0 else 1.0 - upper_bound(rows - hits, rows, alpha)


ROLLOUT_GATES.add("errors", RolloutGate(ErrorSettings, judge))
