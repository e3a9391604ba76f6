"""One diagnosis: gather the evidence of an incident, ask every diagnosis, rank what they found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from rung.core.errors import RungError
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.governance.lineage import link, node
from rung.monitoring import sources
from rung.monitoring.evidence import DIAGNOSES, Evidence, Replay, gain_of
from rung.monitoring.performance import measured, of_version
from rung.monitoring.records import Diagnosis, Finding, Incident, IncidentDiagnosed, Monitor, WindowReport
from rung.monitoring.rules import ranked
from rung.monitoring.running import Served, served, serving_version, standard_of
from rung.monitoring.store import MonitoringStore
from rung.registry.records import ModelVersion
from rung.storage.outbox import emit
from rung.storage.scope import Scope

LOOK_BACK = timedelta(days=28)
_REPLAYED = 2000


def diagnose(
    scope: Scope, incident: Incident, monitor: Monitor, windows: tuple[WindowReport, ...], as_of: datetime
) -> Callable[[Scope], Diagnosis]:
    """Diagnose an incident from its stored windows and the rows behind them; the answer saves it."""
    evidence = gathered(scope, incident, monitor, windows, as_of)
    findings = ranked([found for _, test in DIAGNOSES.items() if (found := test(evidence))]) or (_nothing(),)
    primary = findings[0]
    diagnosis = Diagnosis(
        id=new_id(),
        incident=incident.id,
        deployment=incident.deployment,
        cause=primary.cause,
        curable=primary.curable,
        summary=primary.summary,
        findings=findings,
        start=evidence.windows[0].start if evidence.windows else incident.start,
        end=incident.end,
        as_of=as_of,
        loss=evidence.performance,
        gain=None if primary.cause in {"data_break", "training_serving_skew", "immature_labels"} else gain_of(evidence.concept),
        created_at=scope.now,
    )
    return lambda inside: save(inside, diagnosis)


def gathered(scope: Scope, incident: Incident, monitor: Monitor, windows: tuple[WindowReport, ...], as_of: datetime) -> Evidence:
    """The evidence of an incident: its windows, and the rows of the last 28 days (or of its last windows, if longer)."""
    span = tuple(w for w in windows if w.start >= incident.start and w.end <= incident.end and w.rows)
    end = min(incident.end, as_of)
    length = timedelta(days=monitor.window_days)
    since = end - max(LOOK_BACK, length * monitor.performance_windows)
    rows = served(scope, monitor, since, end, as_of)
    version = (
        serving_version(scope, rows.between(end - length, end))
        if len(rows.between(end - length, end))
        else serving_version(scope, rows.frame)
    )
    current = _suspected(rows, incident, version, windows)
    standard = standard_of(scope, monitor, version)
    performance = None
    if len(current):
        start = current["event_time"].min()
        performance = measured(
            current,
            standard,
            version.model,
            version.number,
            start=start if isinstance(start, datetime) else since,
            end=end,
            as_of=as_of,
            final=False,
        )
    return Evidence(
        incident=incident,
        monitor=monitor,
        reference=sources.reference(scope, monitor, version),
        windows=span,
        current=current,
        as_of=as_of,
        threshold=standard.threshold,
        binary=version.task == "binary",
        performance=performance,
        replay=_replay(scope, version, rows.frame),
    )


def _suspected(rows: Served, incident: Incident, version: ModelVersion, windows: tuple[WindowReport, ...]) -> pl.DataFrame:
    """Rows of the version in question, without windows whose input was broken (unless nothing else is left)."""
    frame = of_version(rows.frame, version.model, version.number)
    clean = frame
    for window in windows:
        if window.quality:
            clean = clean.filter((pl.col("event_time") < window.start) | (pl.col("event_time") >= window.end))
    return clean if len(clean) else frame


def _replay(scope: Scope, version: ModelVersion, frame: pl.DataFrame) -> Replay | None:
    """Logged scores of an even sample, and the registered model's scores of the same rows; None when it cannot be loaded here."""
    names = [field.name for field in version.signature.inputs]
    sample = of_version(frame, version.model, version.number)
    if sample.is_empty() or not set(names) <= set(sample.columns):
        return None
    sample = sample.gather_every(max(1, len(sample) // _REPLAYED))
    try:
        again = sources.scores(scope, version, sample.select(names))
    except RungError:  # a model of code or an untrusted format is not loaded in the control plane; the other diagnoses stand
        return None
    return Replay(sample["score"].to_numpy().astype(np.float64), again)


def _nothing() -> Finding:
    return Finding(
        cause="none", strength=0.0, summary="No cause was found: input, scores and labels look as they did.", remedy="Keep watching."
    )


def save(scope: Scope, diagnosis: Diagnosis) -> Diagnosis:
    """Keep a diagnosis and mark its incident; another one of the same instant stands instead."""
    store = MonitoringStore(scope.connection, scope.project)
    store.take_turn()
    held = next((d for d in store.diagnoses(diagnosis.incident) if d.as_of == diagnosis.as_of), None)
    if held:
        return held
    store.add_diagnosis(diagnosis)
    incident = store.incident(diagnosis.incident)
    status = "diagnosed" if incident.status == "open" else incident.status
    store.save_incident(replaced(incident, status=status, cause=diagnosis.cause, diagnosis=diagnosis.id))
    if diagnosis.loss and diagnosis.loss.model:
        link(scope, node("model_version", f"{diagnosis.loss.model}:{diagnosis.loss.version}"), "troubled_by", node("incident", incident.id))
    emit(
        scope,
        IncidentDiagnosed(
            incident=incident.id, diagnosis=diagnosis.id, deployment=diagnosis.deployment, cause=diagnosis.cause,
            curable=diagnosis.curable, as_of=diagnosis.as_of,
        ),
    )  # fmt: skip
    return diagnosis
