"""Retrain on a calendar, whatever was measured."""

from __future__ import annotations

from datetime import timedelta

from rung.value.policy import POLICIES
from rung.value.records import Evidence, PolicySettings, Proposal


@POLICIES.member("periodic")
def periodic(evidence: Evidence, settings: PolicySettings) -> Proposal:
    """Retrain when ``every_periods`` periods have passed since the last time."""
    gap = timedelta(days=settings.period_days * settings.every_periods)
    if evidence.last_retrained_at is None or evidence.as_of - evidence.last_retrained_at >= gap:
        return Proposal(action="retrain", reasons=(f"{gap.days} days have passed since the last retraining.",))
    return Proposal(action="nothing", reasons=(f"Less than {gap.days} days have passed since the last retraining.",))
