"""Request for labels as one file: what areas below monitoring are handed when they need the truth about predictions."""

from __future__ import annotations

from typing import ClassVar

from rung.core.records import Digest, Instant, Name
from rung.core.requests import Effect, Request


class ExportLabels(Request[Digest]):
    """Labels of a deployment as a Parquet blob: prediction_id, label as a number, arrived_at; one row a prediction, as known at ``as_of``."""

    operation = "monitoring.export_labels"
    permission = "prediction:read"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    deployment: Name
    as_of: Instant | None = None
