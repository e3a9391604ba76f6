"""Records and request of a shadow's comparison with what was answered."""

from __future__ import annotations

from typing import ClassVar

from rung.core.events import Event
from rung.core.records import AnyFloat, Count, Instant, Key, Line, ModelName, Name, Number, Record, Share
from rung.core.requests import Effect, Request


class Disagreement(Record):
    """One prediction on which the shadow differs most."""

    id: Key
    answered: AnyFloat
    shadow: AnyFloat
    event_time: Instant


class ShadowComparison(Record):
    """What a shadow would have answered, beside what was answered, prediction by prediction.

    ``agreement`` is the share of rows that fall on the same side of the threshold (of the version that answered); differences are shadow less answer.
    Times are medians of milliseconds a row; ``slowdown`` lies between ``slowdown_low`` and ``slowdown_high`` with 95 %. One that was
    kept says when it was made (``compared_at``), of which event times, and, once the shadow is none any more, since when.
    """

    deployment: Name
    model: ModelName
    number: Number
    beside_model: ModelName
    beside_number: Number
    since_revision: Number
    rows: Count
    pairs: Count
    errors: Count
    error_share: AnyFloat
    threshold: float
    agreement: AnyFloat
    agreement_low: AnyFloat
    agreement_high: AnyFloat
    mean_difference: AnyFloat
    mean_absolute: AnyFloat
    largest: AnyFloat
    correlation: AnyFloat
    distance: AnyFloat
    quantiles: dict[str, AnyFloat]
    time_ms: AnyFloat
    beside_time_ms: AnyFloat
    slowdown: AnyFloat
    slowdown_low: AnyFloat
    slowdown_high: AnyFloat
    worst: tuple[Disagreement, ...]
    conclusion: Line
    labelled: Count = 0
    first_event: Instant | None = None
    last_event: Instant | None = None
    compared_at: Instant | None = None
    ended_at: Instant | None = None


class CompareShadow(Request[ShadowComparison]):
    """Compare a deployment's shadow with what was answered since it began; without a shadow, the comparison kept of the last one."""

    operation = "serving.compare_shadow"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name
    threshold: Share | None = None


class ListShadowComparisons(Request[tuple[ShadowComparison, ...]]):
    """Comparisons kept of a deployment's shadows, newest first: one a shadow. They outlive shadow and prediction log."""

    operation = "serving.list_shadow_comparisons"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name


class KeepComparison(Request[ShadowComparison | None]):
    """Keep what a shadow has shown so far, of a comparison kept before the one that reaches further.

    The shadow is the one that stood in ``revision``; without it the one under way, or the last one.
    """

    operation = "serving.keep_shadow_comparison"
    permission = "deployment:deploy"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    deployment: Name
    revision: Number | None = None


class ShadowEnded(Event):
    """A version is a deployment's shadow no more: it was taken away, promoted, or followed by another one."""

    kind: ClassVar[str] = "serving.shadow_ended"
    deployment: Name
    revision: Number
    model: ModelName
    number: Number
