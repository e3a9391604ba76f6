"""Which event of a lower floor calls upon which triggers, and the facts it brings. Every subscriber may be called twice."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from rung.core.errors import NotFound
from rung.core.events import on
from rung.data.records import DatasetVersionAdded, GetVersion
from rung.engine.records import CallTriggers, ReconsiderFires
from rung.monitoring.records import AlertRaised, GetReport, IncidentDiagnosed, WindowReport, WindowsMeasured
from rung.pipelines.records import GetPipelineRun, PipelineRunFinished
from rung.pipelines.triggering import ListTriggers, Signal
from rung.registry.records import AliasMoved, ModelVersionRegistered
from rung.value.records import DecisionMade


@on(DatasetVersionAdded)
def new_version(event: DatasetVersionAdded, transport: Any) -> None:
    """A new dataset version."""
    if not _listened(transport, "dataset", event.dataset):
        return
    ref = f"{event.dataset}:{event.number}"
    try:
        rows = transport.call(GetVersion(dataset=event.dataset, number=event.number)).rows
    except NotFound:
        rows = None  # erased since
    facts = {"dataset": ref, "name": event.dataset, "number": event.number, "rows": rows, "validation": event.validation}
    _call(transport, "dataset", event.dataset, ref, facts)


@on(AlertRaised)
def alert(event: AlertRaised, transport: Any) -> None:
    """An alert."""
    facts = {"alert": event.alert, "deployment": event.deployment, "rule": event.rule, "incident": event.incident}
    _call(transport, "alert", event.deployment, event.alert, facts)


@on(IncidentDiagnosed)
def diagnosed(event: IncidentDiagnosed, transport: Any) -> None:
    """An incident whose cause was found; another diagnosis of it is another cause."""
    facts = {
        "incident": event.incident, "diagnosis": event.diagnosis, "deployment": event.deployment, "cause": event.cause,
        "curable": event.curable,
    }  # fmt: skip
    _call(transport, "incident", event.deployment, event.diagnosis, facts, event.as_of)


@on(DecisionMade)
def decided(event: DecisionMade, transport: Any) -> None:
    """A decision; what was decided other than to retrain is recorded with the triggers that did not act on it."""
    facts = {
        "decision": event.decision, "deployment": event.deployment, "model": event.model, "action": event.action,
        "incident": event.incident,
    }  # fmt: skip
    _call(transport, "decision", event.deployment, event.decision, facts, event.as_of)


@on(WindowsMeasured)
def measured(event: WindowsMeasured, transport: Any) -> None:
    """Windows of a monitor, for triggers with lines of their own; a window measured anew is the same cause."""
    kinds = [kind for kind in ("performance", "drift") if _listened(transport, kind, event.deployment)]
    if not kinds:
        return
    for window in transport.call(GetReport(deployment=event.deployment, start=event.start)).windows:
        if window.id not in event.windows or not window.rows:
            continue  # measured anew since; that run has told of it
        for kind in kinds:
            facts = drift_facts(window) if kind == "drift" else performance_facts(window)
            if facts is not None:
                _call(
                    transport, kind, event.deployment, f"{event.deployment} {_told(window.start)}..{_told(window.end)}", facts, window.as_of
                )


@on(PipelineRunFinished)
def run_ended(event: PipelineRunFinished, transport: Any) -> None:
    """A pipeline run that has ended starts those that follow it, and lets calls that waited for its end be looked at again."""
    if any(trigger.guards.concurrency == "queue" for trigger in transport.call(ListTriggers(pipeline=event.pipeline))):
        transport.call(ReconsiderFires(pipeline=event.pipeline))
    if not _listened(transport, "after", event.pipeline):
        return
    number = transport.call(GetPipelineRun(id=event.pipeline_run)).run.number
    facts = {
        "after": event.pipeline, "pipeline_run": event.pipeline_run, "number": number, "status": event.status, "run_id": event.run_id,
        "cause": event.cause.kind,
    }  # fmt: skip
    # A run that failed and was resumed ends more than once; each end is a cause.
    _call(transport, "after", event.pipeline, f"{event.pipeline_run} {event.status} {_told(event.ended_at)}", facts)


@on(ModelVersionRegistered)
def registered(event: ModelVersionRegistered, transport: Any) -> None:
    """A new model version."""
    facts = {"model": event.model, "number": event.number, "change": "registered", "run_id": event.run_id}
    _call(transport, "model", event.model, f"{event.model}:{event.number} registered"[-250:], facts)


@on(AliasMoved)
def promoted(event: AliasMoved, transport: Any) -> None:
    """A version that an alias was moved to; the same move from the same version counts once."""
    if event.number is not None:
        facts = {"model": event.model, "number": event.number, "change": "promoted", "alias": event.alias}
        cause = f"{event.model}:{event.number} {event.alias} from {event.previous}"[-250:]
        _call(transport, "model", event.model, cause, facts)


def performance_facts(window: WindowReport) -> dict[str, Any] | None:
    """What a performance trigger is told of a window; None without labels."""
    held = window.performance
    if held is None:
        return None
    recent = window.recent or held
    return {
        **_window(window), "metric": held.metric, "metrics": _numbers(held.metrics, held.metric, held.value),
        "recent": _numbers(recent.metrics, recent.metric, recent.value), "reference": held.reference, "labelled": held.labelled,
        "labelled_share": held.labelled_share, "final": held.final,
    }  # fmt: skip


def drift_facts(window: WindowReport) -> dict[str, Any]:
    """What a drift trigger is told of a window."""
    columns = [
        {"column": c.column, "effect": c.effect, "drifted": c.verdict == "drifted", "importance": c.importance} for c in window.drift
    ]  # fmt: skip
    return {**_window(window), "rows": window.rows, "columns": columns, "broken": bool(window.quality)}


def _window(window: WindowReport) -> dict[str, Any]:
    return {
        "deployment": window.deployment, "window": window.id, "start": window.start, "end": window.end, "as_of": window.as_of,
        "model": window.model or "", "version": window.version or 0,
    }  # fmt: skip


def _numbers(metrics: dict[str, float], name: str, value: float | None) -> dict[str, float]:
    found = metrics if value is None else {**metrics, name: value}
    return {key: number for key, number in found.items() if math.isfinite(number)}


def _listened(transport: Any, kind: str, subject: str) -> bool:
    return any(trigger.subject in {"*", subject} for trigger in transport.call(ListTriggers(kind=kind)))


def _call(transport: Any, kind: str, subject: str, cause: str, facts: dict[str, Any], as_of: Any = None) -> None:
    if _listened(transport, kind, subject):
        told = {**facts, "as_of": as_of} if as_of is not None else facts
        plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}
        transport.call(CallTriggers(signal=Signal(kind=kind, subject=subject, cause=cause, facts=plain, as_of=as_of)))


def _told(at: Any) -> str:
    return str(at.isoformat(timespec="seconds"))
