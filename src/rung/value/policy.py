"""Retraining policies: the family, and the guards that hold for every one of them.

A policy proposes; the guards then refuse a retraining that could not help (bad data, labels not there yet) or that
comes too soon. In a rehearsal the guards are left out, so that policies can be compared as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from rung.core.families import Family
from rung.value.records import Action, Evidence, Interval, PolicySettings, Proposal

Policy = Callable[[Evidence, PolicySettings], Proposal]
POLICIES: Family[Policy] = Family("policies", "rung.value.policies")
DEFAULT_POLICY = "diagnosed_with_cost"
DATA_FAULTS: dict[str, str] = {
    "data_break": "Retraining would teach the model the fault; repair the data.",
    "training_serving_skew": "Training and serving compute a feature differently; repair the one that is wrong.",
    "leakage": "The model was trained on what it cannot know; repair the training data.",
}


def propose(policy: str, evidence: Evidence, settings: PolicySettings) -> Proposal:
    """What a policy proposes, after the guards. Raises NotFound for an unknown policy."""
    return guarded(POLICIES.get(policy)(evidence, settings), evidence, settings)


def guarded(proposal: Proposal, evidence: Evidence, settings: PolicySettings) -> Proposal:
    """The proposal, unless it is a retraining that must not be."""
    if proposal.action != "retrain":
        return proposal
    for action, reason in _objections(evidence, settings):
        return Proposal(
            action=action, reasons=(reason, *proposal.reasons), expected_gain=proposal.expected_gain, needed=proposal.needed,
            accumulated_loss=proposal.accumulated_loss,
        )  # fmt: skip
    return proposal


def _objections(evidence: Evidence, settings: PolicySettings) -> list[tuple[Action, str]]:
    found: list[tuple[Action, str]] = []
    if evidence.cause in DATA_FAULTS:
        found.append(("fix_data", f"The cause is {evidence.cause}. {DATA_FAULTS[evidence.cause]}"))
    if evidence.cause == "immature_labels" or not evidence.labels_ready:
        found.append(("wait", f"Only {evidence.labelled_share:.0%} of the rows that are due have a label; wait for more."))
    if evidence.open_data_fault:
        found.append(("fix_data", "An incident with a data fault is still open; repair that first."))
    if evidence.fresh_version:
        found.append(("wait", "A canary is under way; see how it ends first."))
    if cooling(evidence, settings):
        found.append(("wait", f"The last retraining was decided less than {settings.cooldown_days:g} days ago."))
    if evidence.retrainings_this_month >= settings.budget_per_month:
        found.append(("wait", f"The budget of {settings.budget_per_month} retrainings a month is spent."))
    return found


def cooling(evidence: Evidence, settings: PolicySettings) -> bool:
    """Whether the last retraining is too recent for another."""
    last = evidence.last_retrained_at
    return last is not None and evidence.as_of - last < timedelta(days=settings.cooldown_days)


def over_horizon(evidence: Evidence, settings: PolicySettings) -> Interval | None:
    """The expected gain over the policy's horizon; None when it is not known."""
    gain = evidence.gain_per_period
    if gain is None:
        return None
    periods = settings.horizon_periods
    return Interval(estimate=gain.estimate * periods, low=gain.low * periods, high=gain.high * periods)
