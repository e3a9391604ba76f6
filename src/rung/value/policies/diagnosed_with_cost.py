"""Retrain when the cause is curable and the gain, at its lower bound, covers margin times the cost.

A slow leak is caught by its sum: once the losses since the last retraining reach the cost, a gain that is likely but
not yet proved is enough.
"""

from __future__ import annotations

from rung.value.policy import DATA_FAULTS, POLICIES, cooling, over_horizon
from rung.value.records import Evidence, PolicySettings, Proposal


@POLICIES.member("diagnosed_with_cost")
def diagnosed_with_cost(evidence: Evidence, settings: PolicySettings) -> Proposal:
    """Cause, labels, gain, cost: in this order, and the first that fails decides."""
    if evidence.cause in DATA_FAULTS:
        return Proposal(action="fix_data", reasons=(f"The cause is {evidence.cause}. {DATA_FAULTS[evidence.cause]}",))
    if evidence.open_data_fault:
        return Proposal(action="fix_data", reasons=("An incident with a data fault is still open; repair that first.",))
    if evidence.cause == "immature_labels":
        return Proposal(action="wait", reasons=("The labels are not mature; what looks like a loss may be none.",))
    if not evidence.curable:
        return Proposal(action="nothing", reasons=(f"The cause is {evidence.cause}, which a retraining would not cure.",))
    if not evidence.labels_ready:
        share = f"Only {evidence.labelled_share:.0%} of the rows that are due have a label"
        return Proposal(action="wait", reasons=(f"{share}; {settings.min_labelled:.0%} are asked for.",))
    return _weighed(evidence, settings)


def _weighed(evidence: Evidence, settings: PolicySettings) -> Proposal:
    gain, cost = over_horizon(evidence, settings), evidence.cost
    if gain is None or cost is None:
        return Proposal(action="wait", reasons=("Gain or cost of a retraining is not known in money; set a value matrix.",))
    needed = settings.margin * cost
    told = f"a retraining is expected to gain {gain.estimate:.2f} ({gain.low:.2f} to {gain.high:.2f}) and to cost {cost:.2f}"
    curable = f"The cause is {evidence.cause}, which a retraining can cure"
    if gain.low > needed:
        reason = f"{curable}; {told}: the lower bound is above {settings.margin:g} times the cost."
        return Proposal(action="retrain", reasons=(reason,), expected_gain=gain, needed=needed, accumulated_loss=evidence.accumulated_loss)
    slow = evidence.accumulated_loss >= cost > 0 and gain.estimate > cost
    if slow and not cooling(evidence, settings):
        reason = f"{curable}; {told}; the losses since the last retraining add up to {evidence.accumulated_loss:.2f}, the cost itself."
        return Proposal(action="retrain", reasons=(reason,), expected_gain=gain, needed=needed, accumulated_loss=evidence.accumulated_loss)
    reason = f"{curable}, but {told}: the lower bound is not above {settings.margin:g} times the cost."
    return Proposal(action="wait", reasons=(reason,), expected_gain=gain, needed=needed, accumulated_loss=evidence.accumulated_loss)
