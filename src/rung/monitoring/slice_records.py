"""Records of what one arm of a deployment did within a window."""

from __future__ import annotations

from rung.core.records import Count, Line, ModelName, Number, Record


class ArmSlice(Record):
    """Rows of a window that one arm answered with one version; ``metric`` over those labelled, between its 95 % bounds.

    ``reference`` is the metric in that version's own evaluation.
    """

    arm: Line
    model: ModelName
    version: Number
    rows: Count
    labelled: Count
    mean_score: float | None = None
    metric: Line
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
