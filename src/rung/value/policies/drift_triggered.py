"""Retrain when the inputs look different, whether or not that matters."""

from __future__ import annotations

from rung.value.policy import POLICIES
from rung.value.records import Evidence, PolicySettings, Proposal


@POLICIES.member("drift_triggered")
def drift_triggered(evidence: Evidence, settings: PolicySettings) -> Proposal:
    """Retrain when the greatest drift effect of any column exceeds ``effect_floor``."""
    effect = evidence.drift_effect
    if effect is None:
        return Proposal(action="nothing", reasons=("No drift was measured.",))
    if effect > settings.effect_floor:
        return Proposal(action="retrain", reasons=(f"The greatest drift effect is {effect:.3f}, above {settings.effect_floor:g}.",))
    return Proposal(action="nothing", reasons=(f"The greatest drift effect is {effect:.3f}, not above {settings.effect_floor:g}.",))
