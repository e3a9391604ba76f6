"""Handler of labels as one file."""

from __future__ import annotations

import io
from collections.abc import Callable

from rung.core.requests import handles
from rung.monitoring.export_records import ExportLabels
from rung.monitoring.store import MonitoringStore
from rung.storage.scope import Scope


@handles(ExportLabels)
def export_labels(request: ExportLabels, scope: Scope) -> Callable[[Scope], str]:
    """Digest of the blob; the same labels give the same one."""
    from rung.monitoring.labels import known, numbers  # noqa: PLC0415 - Polars, which `rung up` must not wait for

    monitor = scope.read(lambda inside: MonitoringStore(inside.connection, inside.project).find_monitor(request.deployment))
    frame = known(scope, request.deployment, request.as_of or scope.now)
    labels = numbers(frame["label"], monitor.positive if monitor else None)
    sink = io.BytesIO()
    frame.select("prediction_id", label=labels, arrived_at="arrived_at").sort("prediction_id").write_parquet(sink, statistics=False)
    digest = scope.blobs.put(sink.getvalue())
    return lambda _: digest
