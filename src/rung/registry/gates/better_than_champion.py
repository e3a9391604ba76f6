"""Gate: the candidate must beat the champion on the same rows, or at least not be worse by more than a margin."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from rung.core.records import Count, Line, Record
from rung.registry.gate import GateCase, gate, result
from rung.registry.records import GateResult


class BetterThanChampion(Record):
    """``superior``: the whole interval of the gain lies above ``margin``. ``non_inferior``: it lies above ``-margin``.

    Without a metric: ROC AUC of a binary model, log loss of one with several classes, mean absolute error of a regression.
    """

    metric: Line = ""
    mode: Literal["superior", "non_inferior"] = "non_inferior"
    margin: Annotated[float, Meta(ge=0)] = 0.01
    confidence: Annotated[float, Meta(gt=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Meta(ge=100, le=20_000)] = 1000
    seed: Count = 0


@gate("better_than_champion", BetterThanChampion)
def better_than_champion(case: GateCase, params: BetterThanChampion) -> list[GateResult]:
    """A paired bootstrap decides; a gain that cannot be told from worse is refused."""
    metric = case.metric(params.metric)
    everything = case.candidate.rows.where("")
    found = case.difference(metric, everything, resamples=params.resamples, confidence=params.confidence, seed=params.seed)
    if found is None:
        return [result("There is no other champion, so nothing to be compared with.", passed=True, metric=metric)]
    limit = params.margin if params.mode == "superior" else -params.margin
    passed = found.low > limit if params.mode == "superior" else found.low >= limit
    interval = f"{params.confidence:.0%} interval {found.low:+.4f} to {found.high:+.4f}"
    wanted = f"{'above' if params.mode == 'superior' else 'not below'} {limit:+.4f}"
    reason = (
        f"{metric} {found.candidate:.4f} against the champion's {found.champion:.4f}: gain {found.gain:+.4f} "
        f"({interval}, {len(everything)} rows), {'' if passed else 'not surely '}{wanted}."
    )
    return [result(reason, passed=bool(passed), metric=metric, value=found.gain, limit=limit, low=found.low, high=found.high)]
