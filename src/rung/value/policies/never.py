"""Never retrain: the first version stays."""

from __future__ import annotations

from rung.value.policy import POLICIES
from rung.value.records import Evidence, PolicySettings, Proposal


@POLICIES.member("never")
def never(evidence: Evidence, settings: PolicySettings) -> Proposal:
    """Nothing, whatever the evidence."""
    return Proposal(action="nothing", reasons=("The policy is never to retrain.",))
