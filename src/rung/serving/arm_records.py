"""Records and request of what each arm of a deployment does."""

from __future__ import annotations

from typing import ClassVar

from rung.core.records import AnyFloat, Count, Instant, ModelName, Name, Number, Record, Share
from rung.core.requests import Effect, Request
from rung.serving.records import Arm


class ArmFigures(Record):
    """Rows, errors and times of one arm since it has served this version without a break; milliseconds a request took, by quantile."""

    arm: Arm
    model: ModelName
    number: Number
    share: Share
    since_revision: Number
    rows: Count
    errors: Count
    p50_ms: AnyFloat
    p95_ms: AnyFloat
    p99_ms: AnyFloat
    mean_score: AnyFloat
    last: Instant | None = None


class MeasureArms(Request[tuple[ArmFigures, ...]]):
    """What each arm of a deployment does: rows, errors, times; the holdout is an arm of the stable version."""

    operation = "serving.measure_arms"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name


class SwapTime(Record):
    """How long the answering process took to answer with a revision: seconds from its creation, and milliseconds of loading and warm-up."""

    revision: Number
    after_s: float
    load_ms: float


class ListSwaps(Request[tuple[SwapTime, ...]]):
    """Revisions of a deployment that the process which answers this has begun to answer with, newest first."""

    operation = "serving.list_swaps"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name
