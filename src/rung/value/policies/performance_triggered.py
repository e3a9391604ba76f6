"""Retrain when mature labels show a loss, whatever caused it and whatever a retraining would bring."""

from __future__ import annotations

from rung.value.policy import POLICIES
from rung.value.records import Evidence, PolicySettings, Proposal


@POLICIES.member("performance_triggered")
def performance_triggered(evidence: Evidence, settings: PolicySettings) -> Proposal:
    """Retrain when the measured loss exceeds ``allowed_loss``."""
    loss = evidence.performance_loss
    if loss is None:
        return Proposal(action="nothing", reasons=("No mature labels tell the performance.",))
    if loss > settings.allowed_loss:
        return Proposal(action="retrain", reasons=(f"Performance lost {loss:.3f}, more than {settings.allowed_loss:g}.",))
    return Proposal(action="nothing", reasons=(f"Performance lost {loss:.3f}, not more than {settings.allowed_loss:g}.",))
