"""Records of labels: the truth about predictions, how it was delivered and how long it took."""

from __future__ import annotations

from rung.core.records import Count, Digest, Id, Instant, Key, Line, Name, Record, Scalar


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
