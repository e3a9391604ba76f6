"""Handlers of monitoring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rung.core.errors import AlreadyExists, Conflict, Invalid, NotFound
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.core.requests import handles
from rung.monitoring import (
    exporting,  # noqa: F401 - registers its handler
    rules,
)
from rung.monitoring import records as r
from rung.monitoring.store import MonitoringStore
from rung.serving.records import GetDeployment
from rung.serving.store import required
from rung.storage.outbox import emit
from rung.storage.scope import Scope


@handles(r.AddMonitor)
def add_monitor(request: r.AddMonitor, scope: Scope) -> r.Monitor:
    """Watch a deployment. Raises AlreadyExists, NotFound."""
    from rung.monitoring import sources  # noqa: PLC0415 - Polars and NumPy, which `rung up` must not wait for

    store = _turn(scope)
    held = store.find_monitor(request.deployment)
    if held and not request.replace:
        raise AlreadyExists(
            f"{request.deployment!r} is watched already.", code="monitoring.monitor_exists", hint="Add it again with replace to change it."
        )
    sources.ask(scope, GetDeployment(deployment=request.deployment))
    if request.reference_number is not None and request.reference_dataset is None:
        raise Invalid("A reference number needs a reference dataset.", code="monitoring.no_reference_dataset", hint="Name the dataset too.")
    monitor = r.Monitor(
        id=held.id if held else new_id(),
        deployment=request.deployment,
        window_days=request.window_days,
        anchor=request.anchor or rules.MONDAY,
        performance_windows=request.performance_windows,
        reference_dataset=request.reference_dataset,
        reference_number=request.reference_number,
        drift_floor=request.drift_floor,
        category_floor=request.category_floor,
        metric=request.metric or "auc",
        alert_line=request.alert_line,
        allowed_loss=request.allowed_loss,
        label_delay_s=request.label_delay_s,
        positive=request.positive,
        columns=request.columns,
        created_at=scope.now,
    )
    if held:
        store.drop_windows(request.deployment)
    store.save_monitor(monitor)
    return monitor


@handles(r.ListMonitors)
def list_monitors(request: r.ListMonitors, scope: Scope) -> tuple[r.Monitor, ...]:
    """Every monitor."""
    return _store(scope).monitors()


@handles(r.GetMonitor)
def get_monitor(request: r.GetMonitor, scope: Scope) -> r.Monitor:
    """One monitor. Raises NotFound."""
    return _store(scope).monitor(request.deployment)


@handles(r.RunMonitors)
def run_monitors(request: r.RunMonitors, scope: Scope) -> Callable[[Scope], r.MonitorReport]:
    """Measure what is due. Raises NotFound."""
    from rung.monitoring import running  # noqa: PLC0415 - see add_monitor

    monitor = scope.read(lambda inside: _store(inside).monitor(request.deployment))
    return running.run(scope, monitor, request.as_of or scope.now)


@handles(r.GetReport)
def get_report(request: r.GetReport, scope: Scope) -> r.MonitorReport:
    """What is stored. Raises NotFound."""
    store = _store(scope)
    monitor = store.monitor(request.deployment)
    windows = store.windows(request.deployment, request.start, request.end)
    incidents = tuple(i for i in store.incidents(deployment=request.deployment) if i.status != "closed")
    return r.MonitorReport(
        deployment=request.deployment,
        as_of=max((w.as_of for w in windows), default=monitor.created_at),
        watermark=max((w.end for w in windows), default=None),
        windows=windows,
        alerts=store.alerts(deployment=request.deployment),
        incidents=incidents,
        sentence=windows[-1].sentence if windows else f"{request.deployment}: no window measured yet.",
    )


@handles(r.MeasurePerformance)
def measure_performance(request: r.MeasurePerformance, scope: Scope) -> tuple[r.Performance, ...]:
    """Realised performance between the bounds. Raises NotFound, Invalid."""
    from rung.monitoring import periods  # noqa: PLC0415 - see add_monitor

    if any(later <= earlier for earlier, later in zip(request.bounds, request.bounds[1:], strict=False)):
        raise Invalid("The bounds do not rise.", code="monitoring.bounds", hint="Sort them and leave no two equal.")
    return periods.performance(scope, _store(scope).monitor(request.deployment), request.bounds, request.as_of or scope.now)


@handles(r.AddLabels)
def add_labels(request: r.AddLabels, scope: Scope) -> Callable[[Scope], r.LabelBatch]:
    """Keep a delivery of labels. Raises NotFound, Invalid."""
    from rung.monitoring import labels  # noqa: PLC0415 - see add_monitor

    required(scope, request.deployment)
    if (request.blob is None) == (not request.labels):
        raise Invalid("Labels come as a blob or as rows, one of them.", code="monitoring.labels_twice", hint="Leave the other out.")
    frame = labels.delivered(request.labels, scope.blobs.get(request.blob) if request.blob else None, scope.now)
    arrivals: list[Any] = [frame["arrived_at"].min(), frame["arrived_at"].max()]
    batch = r.LabelBatch(
        id=new_id(),
        deployment=request.deployment,
        digest=scope.blobs.put(labels.as_bytes(frame)),
        rows=len(frame),
        first_arrival=arrivals[0],
        last_arrival=arrivals[1],
        source=request.source,
        created_at=scope.now,
    )
    return lambda inside: _save_labels(inside, batch)


def _save_labels(scope: Scope, batch: r.LabelBatch) -> r.LabelBatch:
    store = _store(scope)
    held = next((b for b in store.label_batches(batch.deployment) if b.digest == batch.digest), None)
    if held:
        return replaced(held, repeated=True)
    store.add_label_batch(batch)
    emit(scope, r.LabelsAdded(deployment=batch.deployment, rows=batch.rows))
    return batch


@handles(r.ListLabelBatches)
def list_label_batches(request: r.ListLabelBatches, scope: Scope) -> tuple[r.LabelBatch, ...]:
    """Deliveries, oldest first. Raises NotFound."""
    required(scope, request.deployment)
    return _store(scope).label_batches(request.deployment)


@handles(r.GetLabel)
def get_label(request: r.GetLabel, scope: Scope) -> r.Label:
    """The label of one prediction. Raises NotFound."""
    from rung.monitoring import labels  # noqa: PLC0415 - see add_monitor

    found = labels.of_prediction(scope, request.deployment, request.prediction, request.as_of or scope.now)
    if found is None:
        raise NotFound(
            f"No label of prediction {request.prediction!r} of {request.deployment!r} has arrived.",
            code="monitoring.no_label",
            hint="Ask again when labels have come.",
        )
    return found


@handles(r.GetLabelDelay)
def get_label_delay(request: r.GetLabelDelay, scope: Scope) -> r.LabelDelay:
    """Distribution of label delay. Raises NotFound."""
    from rung.monitoring import periods  # noqa: PLC0415 - see add_monitor

    required(scope, request.deployment)
    return periods.label_delay(scope, request.deployment, request.as_of or scope.now)


@handles(r.ListAlerts)
def list_alerts(request: r.ListAlerts, scope: Scope) -> tuple[r.Alert, ...]:
    """Alerts by window. Raises NotFound."""
    required(scope, request.deployment)
    incident = _store(scope).incident(request.incident).id if request.incident else None
    return _store(scope).alerts(deployment=request.deployment, incident=incident)


@handles(r.ListIncidents)
def list_incidents(request: r.ListIncidents, scope: Scope) -> tuple[r.Incident, ...]:
    """Incidents, newest first. Raises NotFound for a deployment that is not there."""
    required(scope, request.deployment)
    return _store(scope).incidents(deployment=request.deployment, status=request.status)


@handles(r.GetIncident)
def get_incident(request: r.GetIncident, scope: Scope) -> r.Incident:
    """One incident. Raises NotFound."""
    return _store(scope).incident(request.incident)


@handles(r.AddNote)
def add_note(request: r.AddNote, scope: Scope) -> r.Incident:
    """Write a note. Raises NotFound."""
    incident = _turn(scope).incident(request.incident)
    note = r.Note(at=scope.now, principal=scope.who, text=request.text)
    return _saved(scope, replaced(incident, notes=(*incident.notes, note)))


@handles(r.SetIncidentDecision)
def set_incident_decision(request: r.SetIncidentDecision, scope: Scope) -> r.Incident:
    """Note the decision that answers an incident; a closed one stays closed. Raises NotFound."""
    incident = _turn(scope).incident(request.incident)
    status: r.IncidentStatus = "closed" if incident.status == "closed" else "decided"
    return _saved(scope, replaced(incident, status=status, decision=request.decision))


@handles(r.CloseIncident)
def close_incident(request: r.CloseIncident, scope: Scope) -> r.Incident:
    """Close an incident. Raises NotFound, Conflict."""
    incident = _turn(scope).incident(request.incident)
    if incident.status == "closed":
        raise Conflict(
            f"Incident {incident.number} was closed at {incident.closed_at}.", code="monitoring.incident_closed", hint="Add a note instead."
        )
    emit(scope, r.IncidentClosed(incident=incident.id, deployment=incident.deployment, resolution=request.resolution))
    return _saved(scope, replaced(incident, status="closed", resolution=request.resolution, closed_at=request.as_of or scope.now))


@handles(r.Diagnose)
def diagnose(request: r.Diagnose, scope: Scope) -> Callable[[Scope], r.Diagnosis]:
    """Diagnose an incident; one of the same instant stands. Raises NotFound."""
    from rung.monitoring import diagnosing  # noqa: PLC0415 - see add_monitor

    as_of = request.as_of or scope.now

    def look(inside: Scope) -> tuple[r.Incident, r.Monitor, tuple[r.WindowReport, ...], tuple[r.Diagnosis, ...]]:
        store = _store(inside)
        incident = store.incident(request.incident)
        return incident, store.monitor(incident.deployment), store.windows(incident.deployment), store.diagnoses(incident.id)

    incident, monitor, windows, made = scope.read(look)
    held = next((diagnosis for diagnosis in made if diagnosis.as_of == as_of), None)
    if held:
        return lambda _: held
    return diagnosing.diagnose(scope, incident, monitor, windows, as_of)


@handles(r.GetDiagnosis)
def get_diagnosis(request: r.GetDiagnosis, scope: Scope) -> r.Diagnosis:
    """A diagnosis, or an incident's newest. Raises NotFound."""
    store = _store(scope)
    found = store.find_diagnosis(request.diagnosis)
    if found:
        return found
    made = store.diagnoses(store.incident(request.diagnosis).id)
    if not made:
        raise NotFound(
            f"Incident {request.diagnosis!r} is not diagnosed yet.",
            code="monitoring.no_diagnosis",
            hint=f"Run `rung incident diagnose {request.diagnosis}`.",
        )
    return made[0]


def _store(scope: Scope) -> MonitoringStore:
    return MonitoringStore(scope.connection, scope.project)


def _turn(scope: Scope) -> MonitoringStore:
    """The store, for who changes what it reads there."""
    store = _store(scope)
    store.take_turn()
    return store


def _saved(scope: Scope, incident: r.Incident) -> r.Incident:
    _store(scope).save_incident(incident)
    return incident
