"""Gate: no slice may surely get worse than under the champion by more than a margin."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from rung.core.records import Count, Line, Record
from rung.registry.gate import GateCase, gate, result
from rung.registry.records import GateResult


class NoSliceWorse(Record):
    """Slices of fewer than ``min_rows`` rows are not judged; the confidence holds for all slices together."""

    metric: Line = ""
    margin: Annotated[float, Meta(ge=0)] = 0.02
    min_rows: Annotated[int, Meta(ge=30)] = 200
    confidence: Annotated[float, Meta(gt=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Meta(ge=100, le=20_000)] = 500
    seed: Count = 0


@gate("no_slice_worse", NoSliceWorse)
def no_slice_worse(case: GateCase, params: NoSliceWorse) -> list[GateResult]:
    """A slice refuses when even the upper end of its gain's interval lies below the margin."""
    metric = case.metric(params.metric)
    if case.champion is None:
        return [result("There is no other champion, so no slice can have become worse.", passed=True, metric=metric)]
    slices = [(name, mask) for _, name, mask in case.candidate.rows.members() if mask.sum() >= params.min_rows]
    if not slices:
        return [result(f"No slice has {params.min_rows} rows, so none was judged.", passed=True, metric=metric)]
    each = 1 - (1 - params.confidence) / len(slices)  # Bonferroni: all intervals together hold the confidence
    worse: list[GateResult] = []
    for name, mask in slices:
        found = case.difference(metric, mask, resamples=params.resamples, confidence=each, seed=params.seed)
        if found is not None and found.high < -params.margin:
            change = f"from {found.champion:.4f} to {found.candidate:.4f} ({mask.sum()} rows)"
            reason = f"{metric} on {name} went {change}, surely worse by more than {params.margin:.4f}."
            worse.append(
                result(
                    reason, passed=False, metric=metric, slice=name, value=found.gain, limit=-params.margin, low=found.low, high=found.high
                )
            )
    return worse or [
        result(f"None of {len(slices)} slices is surely worse by more than {params.margin:.4f} in {metric}.", passed=True, metric=metric)
    ]
