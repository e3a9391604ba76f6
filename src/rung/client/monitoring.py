"""Monitors, labels, incidents and diagnoses from Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.client.transports import Transport
from rung.monitoring import records as r

if TYPE_CHECKING:
    import polars as pl


class MonitoringVerbs:
    """Verbs of monitoring."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add(self, deployment: str, **options: Any) -> r.Monitor:
        """Watch a deployment; the options are the fields of ``rung.monitoring.records.AddMonitor``."""
        return self._transport.call(r.AddMonitor(deployment=deployment, **options))

    def monitors(self) -> tuple[r.Monitor, ...]:
        """Every monitor."""
        return self._transport.call(r.ListMonitors())

    def monitor(self, deployment: str) -> r.Monitor:
        """The monitor of a deployment."""
        return self._transport.call(r.GetMonitor(deployment=deployment))

    def run(self, deployment: str, as_of: datetime | None = None) -> r.MonitorReport:
        """Measure what is due, raise alerts, open incidents."""
        return self._transport.call(r.RunMonitors(deployment=deployment, as_of=as_of))

    def report(self, deployment: str, start: datetime | None = None, end: datetime | None = None) -> r.MonitorReport:
        """Stored windows, alerts, and incidents that are not closed."""
        return self._transport.call(r.GetReport(deployment=deployment, start=start, end=end))

    def performance(self, deployment: str, bounds: Sequence[datetime], as_of: datetime | None = None) -> tuple[r.Performance, ...]:
        """Realised performance between consecutive instants: n + 1 instants give n records."""
        return self._transport.call(r.MeasurePerformance(deployment=deployment, bounds=tuple(bounds), as_of=as_of))

    def add_labels(self, deployment: str, labels: pl.DataFrame | Path | str | Iterable[r.Label], *, source: str = "") -> r.LabelBatch:
        """Bring labels: a frame or a file (Parquet, CSV) with prediction_id, label and optionally event_time, arrived_at; or records."""
        blob = _parquet(labels)
        if blob is not None:
            return self._transport.call(r.AddLabels(deployment=deployment, blob=self._transport.put_blob(blob), source=source))
        rows = tuple(label for label in labels if isinstance(label, r.Label)) if isinstance(labels, Iterable) else ()
        return self._transport.call(r.AddLabels(deployment=deployment, labels=rows, source=source))

    def label_batches(self, deployment: str) -> tuple[r.LabelBatch, ...]:
        """Deliveries of labels, oldest first."""
        return self._transport.call(r.ListLabelBatches(deployment=deployment))

    def label(self, deployment: str, prediction: str, as_of: datetime | None = None) -> r.Label:
        """The label of one prediction, if one has arrived. Raises NotFound."""
        return self._transport.call(r.GetLabel(deployment=deployment, prediction=prediction, as_of=as_of))

    def label_delay(self, deployment: str, as_of: datetime | None = None) -> r.LabelDelay:
        """How long labels take."""
        return self._transport.call(r.GetLabelDelay(deployment=deployment, as_of=as_of))

    def alerts(self, deployment: str | None = None, incident: str | None = None) -> tuple[r.Alert, ...]:
        """Alerts of a deployment or an incident, oldest first."""
        return self._transport.call(r.ListAlerts(deployment=deployment, incident=incident))

    def incidents(self, deployment: str | None = None, status: r.IncidentStatus | None = None) -> tuple[r.Incident, ...]:
        """Incidents, newest first."""
        return self._transport.call(r.ListIncidents(deployment=deployment, status=status))

    def incident(self, incident: str) -> r.Incident:
        """An incident by number or id."""
        return self._transport.call(r.GetIncident(incident=incident))

    def note(self, incident: str, text: str) -> r.Incident:
        """Write a note to an incident."""
        return self._transport.call(r.AddNote(incident=incident, text=text))

    def decide(self, incident: str, decision: str) -> r.Incident:
        """Note which decision answers an incident."""
        return self._transport.call(r.SetIncidentDecision(incident=incident, decision=decision))

    def close(self, incident: str, resolution: str, as_of: datetime | None = None) -> r.Incident:
        """Close an incident, saying how it ended."""
        return self._transport.call(r.CloseIncident(incident=incident, resolution=resolution, as_of=as_of))

    def diagnose(self, incident: str, as_of: datetime | None = None) -> r.Diagnosis:
        """Find the cause of an incident."""
        return self._transport.call(r.Diagnose(incident=incident, as_of=as_of))

    def diagnosis(self, key: str) -> r.Diagnosis:
        """A diagnosis by id, or the newest of an incident by its number or id."""
        return self._transport.call(r.GetDiagnosis(diagnosis=key))


def _parquet(labels: Any) -> bytes | None:
    """Labels of a frame or a file as Parquet; None for records."""
    if not hasattr(labels, "write_parquet") and not isinstance(labels, (str, Path)):
        return None
    import io  # noqa: PLC0415 - with Polars, for those who bring a table

    import polars as pl  # noqa: PLC0415

    from rung.core.errors import Invalid  # noqa: PLC0415

    if isinstance(labels, (str, Path)):
        path = Path(labels)
        try:
            labels = pl.read_csv(path, try_parse_dates=True) if path.suffix == ".csv" else pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise Invalid(
                f"{path} cannot be read as labels: {error}.", code="monitoring.labels_unreadable", hint="Give Parquet or CSV."
            ) from None
    buffer = io.BytesIO()
    labels.write_parquet(buffer)
    return buffer.getvalue()
