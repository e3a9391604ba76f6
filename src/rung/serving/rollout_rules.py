"""Decisions about growing canaries: when to look, what a look may spend, what follows from its findings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rung.core.records import replaced
from rung.serving.ab_records import AbTest
from rung.serving.options import RolloutPlan
from rung.serving.records import Revision
from rung.serving.rollout_records import Action, GateFinding, Outcome, Rollout

ALPHA = 0.05
FIRST_LOOK_ROWS = 20
GROWTH = 1.5


def spent(look: int, alpha: float = ALPHA) -> float:
    """Error that look number ``look`` (from 1) may make, so that all looks together make no more than ``alpha``.

    1/(k(k+1)) sums to 1, so by the union bound a sound canary is rolled back by any gate's test with probability of at most
    alpha, however often it is looked at. Spending by looks: Lan and DeMets, Biometrika 70 (1983) 659-663.

    >>> round(sum(spent(k) for k in range(1, 10_000)), 4)
    0.05
    """
    return alpha / (look * (look + 1))


def is_news(rollout: Rollout, rows: int, labels: int, *, at_step_end: bool) -> bool:
    """Whether evidence has grown enough for another look: by half, to the rows of a step, or to its time."""
    if rollout.looks == 0:
        return rows >= min(FIRST_LOOK_ROWS, rollout.plan.step_rows) or labels > 0
    if rows >= max(rollout.looked_rows * GROWTH, FIRST_LOOK_ROWS) or labels >= max(rollout.looked_labels * GROWTH, 1):
        return True
    return at_step_end and (rows > rollout.looked_rows or labels > rollout.looked_labels)


def judged(plan: RolloutPlan, findings: Sequence[GateFinding], rows: int, elapsed_s: float) -> tuple[Outcome, tuple[str, ...]]:
    """Outcome of a look with its reasons: one gate that fails is enough; all that are needed must pass, on enough rows and time."""
    failed = tuple(finding.reason for finding in findings if finding.outcome == "failed")
    if failed:
        return "failed", failed
    thin = [finding.reason for finding in findings if finding.outcome == "insufficient" and finding.needed]
    if rows < plan.step_rows:
        thin.insert(0, f"The step has {rows} rows of the {plan.step_rows} it takes.")
    if elapsed_s < plan.step_s:
        thin.append(f"The step has lasted {elapsed_s:.0f} s of {plan.step_s:.0f} s.")
    if thin:
        return "insufficient", tuple(thin)
    return "passed", tuple(finding.reason for finding in findings)


def action_of(rollout: Rollout, outcome: Outcome, *, waited_s: float) -> tuple[Action, str]:
    """What follows from a look, and why; a paused canary never grows, and one that waits in vain is taken back."""
    if outcome == "failed":
        return "roll_back", "A gate failed."
    if outcome == "insufficient" or rollout.state == "paused":
        if waited_s >= rollout.plan.give_up_s and rollout.state != "paused":
            return "roll_back", f"Step {rollout.step + 1} lacked evidence for {waited_s:.0f} s (limit {rollout.plan.give_up_s:.0f} s)."
        return "wait", ""
    following = next_share(rollout)
    if following >= 1.0:
        return "promote", f"Every gate passed at {rollout.share:.0%}, the last step before all of the traffic."
    return "grow", f"Every gate passed at {rollout.share:.0%}."


def next_share(rollout: Rollout) -> float:
    """Share of the step after the one under way; 1 after the last."""
    steps = rollout.plan.steps
    return steps[rollout.step + 1] if rollout.step + 1 < len(steps) else 1.0


def grown(rollout: Rollout, revision: Revision, at: datetime) -> Rollout:
    """The rollout at its next step, which ``revision`` began."""
    return replaced(
        rollout, step=rollout.step + 1, share=next_share(rollout), revision=revision.number, step_revision=revision.number,
        looked_rows=0, step_at=at, changed_at=at,
    )  # fmt: skip


def after_revision(rollout: Rollout, revision: Revision) -> Rollout:
    """The rollout after somebody else made a revision: on with it, paused at the share set by hand, or ended."""
    kept = any((x.model, x.number, x.arm) == (rollout.model, rollout.number, "canary") for x in revision.routes)
    changes: dict[str, object] = {"revision": revision.number, "changed_at": revision.created_at}
    if revision.change == "drill":
        return replaced(rollout, **changes)
    if revision.change == "canary":
        kept = False  # a canary begun anew, of whichever version
    if kept and revision.change == "traffic":
        share = next(x.share for x in revision.routes if x.arm == "canary")
        return replaced(rollout, **changes, state="paused", share=share, reason=f"{revision.created_by} set its share to {share:.0%}.")
    if kept:
        return replaced(rollout, **changes)
    state = {"promote": "promoted", "abort": "aborted", "rollback": "aborted"}.get(revision.change, "overtaken")
    why = revision.override_reason or revision.reason or f"{revision.change} by {revision.created_by}"
    return replaced(rollout, **changes, state=state, reason=why)


def after_arms(test: AbTest, revision: Revision) -> AbTest:
    """The A/B test after a revision: on with it while its arms serve, else overtaken."""
    arms = {(x.arm, x.model, x.number) for x in revision.routes}
    kept = all((x.arm, x.model, x.number) in arms for x in test.arms)
    if kept or revision.change == "drill":
        return replaced(test, revision=revision.number)
    return replaced(test, state="overtaken", reason=f"{revision.change} by {revision.created_by}", changed_at=revision.created_at)
