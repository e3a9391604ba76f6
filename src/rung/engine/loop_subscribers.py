"""The closed loop: which event of one area asks which verb of another. Every subscriber may be called twice."""

from __future__ import annotations

from typing import Any

from rung.core.events import on
from rung.data.records import DatasetVersionAdded
from rung.monitoring.records import AlertRaised, IncidentDiagnosed
from rung.pipelines.records import FireTriggers
from rung.value.records import Decide, DecisionMade


def load_subscribers() -> None:
    """Importing this module has subscribed everything; calling this says so."""


@on(DatasetVersionAdded)
def start_for_new_version(event: DatasetVersionAdded, transport: Any) -> None:
    """A new dataset version calls upon the triggers that wait for it."""
    ref = f"{event.dataset}:{event.number}"
    transport.call(FireTriggers(kind="dataset", subject=event.dataset, cause=ref, reason=f"Dataset version {ref} was added.", params={"dataset": ref}))


@on(AlertRaised)
def start_for_alert(event: AlertRaised, transport: Any) -> None:
    """An alert calls upon the triggers that wait for it."""
    transport.call(FireTriggers(kind="alert", subject=event.deployment, cause=event.alert, reason=f"An alert on {event.deployment} was raised."))


@on(IncidentDiagnosed)
def decide_about_incident(event: IncidentDiagnosed, transport: Any) -> None:
    """A diagnosed incident is put to the retraining policy of its deployment."""
    transport.call(Decide(incident=event.incident))


@on(DecisionMade)
def start_for_decision(event: DecisionMade, transport: Any) -> None:
    """A decision to retrain starts the pipelines that wait for it."""
    if event.action == "retrain":
        transport.call(FireTriggers(kind="decision", subject=event.deployment, cause=event.decision, reason=f"Decision {event.decision}: retrain."))
