"""Records of labels: the truth about predictions, how it was delivered and how long it took."""

from __future__ import annotations

from typing import ClassVar

from rung.core.records import Count, Digest, Id, Instant, Key, Line, Name, Record, Scalar
from rung.core.requests import Effect, Request


class Label(Record):
    """The truth about one prediction. ``event_time`` is when it happened, ``arrived_at`` when it became known."""

    prediction_id: Key
    label: Scalar
    event_time: Instant | None = None
    arrived_at: Instant | None = None


class LabelBatch(Record):
    """One delivery of labels, kept as a Parquet blob; the same bytes delivered twice are one batch."""

    id: Id
    deployment: Name
    digest: Digest
    rows: Count
    first_arrival: Instant
    last_arrival: Instant
    source: Line = ""
    repeated: bool = False
    created_at: Instant


class LabelDelay(Record):
    """How long labels took from prediction to arrival. ``horizon_s`` is the age at which 99 % had come."""

    deployment: Name
    rows: Count
    labelled: Count
    quantiles_s: dict[str, float]
    horizon_s: float


class GetLabel(Request[Label]):
    """The label of one prediction as known at ``as_of``; a later arrival corrects an earlier one. Raises NotFound."""

    operation = "monitoring.get_label"
    permission = "label:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name
    prediction: Key
    as_of: Instant | None = None
