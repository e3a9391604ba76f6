"""Gate: a metric must reach a value."""

from __future__ import annotations

from rung.core.errors import Invalid
from rung.core.records import Line, Name, Record
from rung.registry.gate import GateCase, gate, result
from rung.registry.records import GateResult


class Threshold(Record):
    """``metric`` must be at least, or at most, a value; on all rows or on one slice."""

    metric: Name
    at_least: float | None = None
    at_most: float | None = None
    slice: Line = ""

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise Invalid("A threshold has at_least or at_most, one of them.", code="registry.bad_gate", hint='Write {"at_least": 0.7}.')


@gate("threshold", Threshold)
def threshold(case: GateCase, params: Threshold) -> list[GateResult]:
    """Refuses a candidate beyond the limit, and one for which the metric is not defined."""
    evaluation = case.candidate.evaluation
    scores = evaluation.scores
    if params.slice:
        scores = next((item.scores for item in evaluation.slices if item.slice == params.slice), {})
    value = scores.get(params.metric)
    limit = params.at_least if params.at_least is not None else params.at_most
    where = f" on {params.slice}" if params.slice else ""
    if value is None:
        known = ", ".join(sorted(scores)) or "none"
        return [
            result(f"{params.metric}{where} is not defined; there are: {known}.", passed=False, metric=params.metric, slice=params.slice)
        ]
    passed = value >= params.at_least if params.at_least is not None else value <= (params.at_most or 0.0)
    side = "least" if params.at_least is not None else "most"
    reason = f"{params.metric}{where} is {value:.4f}, {'' if passed else 'not '}at {side} {limit:.4f}."
    return [result(reason, passed=passed, metric=params.metric, slice=params.slice, value=value, limit=limit)]
