"""Records and requests of rollouts: a canary that grows by its gates."""

from __future__ import annotations

from typing import ClassVar, Literal

from rung.core.events import Event
from rung.core.records import AnyFloat, Count, Digest, Id, Instant, Key, Line, ModelName, Name, Number, Record, Share, Text
from rung.core.requests import Effect, Request
from rung.serving.options import RolloutPlan
from rung.serving.records import Revision

RolloutState = Literal["growing", "paused", "promoted", "rolled_back", "aborted", "overtaken"]
Outcome = Literal["passed", "failed", "insufficient"]
Action = Literal["grow", "promote", "roll_back", "wait"]


class GateFinding(Record):
    """What one rollout gate found: its figure beside its limit, and how sure of it one may be.

    ``low`` and ``high`` bound the figure at the level the look was given. A gate that is not ``needed`` may lack evidence
    and yet not hold the canary back; it says so in its reason.
    """

    gate: Key
    outcome: Outcome
    figure: AnyFloat
    limit: AnyFloat
    low: AnyFloat = float("nan")
    high: AnyFloat = float("nan")
    rows: Count = 0
    needed: bool = True
    reason: Line


class RolloutJudgement(Record):
    """One look at a canary under way. ``alpha`` is the error this look may spend, so that all looks together keep to 5 %."""

    id: Id
    rollout: Id
    deployment: Name
    revision: Number
    step: Count
    share: Share
    look: Number
    alpha: AnyFloat
    outcome: Outcome
    action: Action
    findings: tuple[GateFinding, ...]
    canary_rows: Count
    stable_rows: Count
    labelled_rows: Count = 0
    watermark: Instant | None = None
    reasons: tuple[Line, ...] = ()
    created_at: Instant


class Rollout(Record):
    """A canary on its way to all of the traffic. ``step`` counts the plan's steps from 0."""

    id: Id
    deployment: Name
    model: ModelName
    number: Number
    plan: RolloutPlan
    state: RolloutState
    step: Count
    share: Share
    first_revision: Number
    step_revision: Number
    revision: Number
    looks: Count = 0
    looked_rows: Count = 0
    looked_labels: Count = 0
    latest: RolloutJudgement | None = None
    reason: Text = ""
    started_at: Instant
    step_at: Instant
    changed_at: Instant


class ListRollouts(Request[tuple[Rollout, ...]]):
    """Rollouts, newest first: of one deployment, or of all; only those under way with ``active``."""

    operation = "serving.list_rollouts"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name | None = None
    active: bool = False


class ListRolloutJudgements(Request[tuple[RolloutJudgement, ...]]):
    """Looks at a deployment's canaries, newest first."""

    operation = "serving.list_rollout_judgements"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name
    rollout: Id | None = None


class WeighRollout(Request[Rollout]):
    """Look at what a growing canary has shown since the last look, and keep the judgement; nothing changes in the traffic.

    ``labels`` is a Parquet blob of ``prediction_id`` and ``label``. Without enough news nothing is judged.
    """

    operation = "serving.weigh_rollout"
    permission = "deployment:deploy"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    deployment: Name
    labels: Digest | None = None


class AdvanceRollout(Request[Rollout]):
    """Do what a judgement says: grow, promote or roll back. A judgement that was overtaken does nothing."""

    operation = "serving.advance_rollout"
    permission = "deployment:deploy"
    deployment: Name
    judgement: Id


class PauseRollout(Request[Rollout]):
    """Keep the canary at its share until somebody resumes it; its gates may still take it back."""

    operation = "serving.pause_rollout"
    permission = "deployment:deploy"
    deployment: Name
    reason: Text = ""


class ResumeRollout(Request[Rollout]):
    """Let a paused canary grow on."""

    operation = "serving.resume_rollout"
    permission = "deployment:deploy"
    deployment: Name
    reason: Text = ""


class AbortRollout(Request[Revision]):
    """Take the growing canary out of traffic."""

    operation = "serving.abort_rollout"
    permission = "deployment:deploy"
    deployment: Name
    reason: Text = ""


class RolloutJudged(Event):
    """A look at a canary was decisive."""

    kind: ClassVar[str] = "serving.rollout_judged"
    deployment: Name
    rollout: Id
    judgement: Id
    action: Line


class RolloutEnded(Event):
    """A canary has all of the traffic, or none."""

    kind: ClassVar[str] = "serving.rollout_ended"
    deployment: Name
    rollout: Id
    state: Line
    model: ModelName
    number: Number
    reason: Text
