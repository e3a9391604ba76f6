"""Records and requests of serving."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.events import Event
from rung.core.records import AnyFloat, Count, Digest, Id, Instant, Key, Line, ModelName, Name, Number, Record, Share, Text
from rung.core.requests import Effect, Request
from rung.governance.records import Trace
from rung.serving.options import DeploymentOptions, RolloutPlan

# ``holdout`` is no route: rows of the holdout share, which the stable version answers; ``arm-<n>`` are arms of an A/B test or a bandit.
Arm = Annotated[str, Meta(pattern=r"^(stable|canary|shadow|holdout|arm-[1-9][0-9]?)$(?!\n)")]
Change = Literal[
    "deploy", "configure", "traffic", "canary", "shadow", "promote", "abort", "rollback", "drill", "undeploy", "grow", "pause", "resume", "ab",
    "reload",
]  # fmt: skip
Range = tuple[Annotated[int, Meta(ge=0, le=1_000_000)], Annotated[int, Meta(ge=0, le=1_000_000)]]
PRODUCTION = "production"


class Route(Record):
    """One model version behind a deployment, and the share of requests it answers; a shadow answers none.

    ``ranges`` are the millionths of the hash that an arm besides the stable one has, kept so that growth moves nobody else.
    """

    model: ModelName
    number: Number
    share: Share
    arm: Arm
    ranges: tuple[Range, ...] = ()


class ArmRewards(Record):
    """What the labelled rows of one arm have earned; sums, so that late labels add to them."""

    arm: Arm
    rows: Count
    total: AnyFloat
    squares: AnyFloat

    @property
    def mean(self) -> float:
        """Mean reward of a row; not a number without rows."""
        return self.total / self.rows if self.rows else float("nan")

    @property
    def error(self) -> float:
        """Standard error of the mean; not a number with fewer than two rows."""
        if self.rows < 2:  # noqa: PLR2004 - one row has no spread
            return float("nan")
        spread = max(self.squares - self.total * self.total / self.rows, 0.0) / (self.rows - 1)
        return float((spread / self.rows) ** 0.5)


class RoutingState(Record):
    """What a learning policy has made of the rewards so far: ranges of millionths by arm, for every arm but the stable one.

    It holds for routing options of the same ``salt``, which every A/B test has of its own.
    """

    deployment: Name
    revision: Number
    salt: Line = ""
    as_of: Instant
    ranges: dict[Arm, tuple[Range, ...]]
    shares: dict[Arm, Share] = {}
    rewards: tuple[ArmRewards, ...] = ()


class Revision(Record):
    """One immutable state of a deployment. ``duration_ms`` is the time the change took, from request to commit."""

    id: Id
    deployment: Name
    number: Number
    routes: tuple[Route, ...]
    change: Change
    created_at: Instant
    created_by: Line
    actor_kind: Line
    reason: Text = ""
    verdict: Id | None = None
    override_reason: Text = ""
    duration_ms: AnyFloat = 0.0
    options: DeploymentOptions = DeploymentOptions()


class Deployment(Record):
    """A name that answers, the environment it lives in, and the revision in force; no routes when undeployed."""

    id: Id
    name: Name
    environment: Name
    revision: Number
    routes: tuple[Route, ...]
    created_at: Instant
    changed_at: Instant
    options: DeploymentOptions = DeploymentOptions()

    @property
    def stable(self) -> Route | None:
        """The route that answers what no canary takes."""
        return next((route for route in self.routes if route.arm == "stable"), None)

    @property
    def canary(self) -> Route | None:
        """The route under trial."""
        return next((route for route in self.routes if route.arm == "canary"), None)


class CanaryLimits(Record):
    """What a canary must keep to. Shares and distances are between 0 and 1."""

    min_rows: Count = 200
    max_error_share: Share = 0.01
    max_slowdown: Annotated[float, Meta(gt=0)] = 5.0
    max_score_distance: Share = 0.7


class CanaryVerdict(Record):
    """What a canary showed beside the stable version on the same traffic."""

    id: Id
    deployment: Name
    revision: Number
    outcome: Literal["passed", "failed", "insufficient"]
    reasons: tuple[Line, ...]
    canary_rows: Count
    stable_rows: Count
    canary_errors: Count
    score_distance: AnyFloat
    slowdown: AnyFloat
    created_at: Instant


class Prediction(Record):
    """One logged answer."""

    id: Key
    deployment: Name
    model: ModelName
    number: Number
    revision: Number
    arm: Arm
    event_time: Instant
    answered_at: Instant
    score: AnyFloat
    inputs: dict[str, Any]
    latency_ms: AnyFloat = 0.0
    caller: Line = ""
    request_id: Line = ""
    trace_id: Line = ""
    flags: tuple[Line, ...] = ()
    scores: tuple[AnyFloat, ...] = ()


class ServedRows(Record):
    """Rows one model version answered on one day, by the time of the answer."""

    deployment: Name
    model: ModelName
    number: Number
    arm: Arm
    day: Line
    rows: Count
    errors: Count
    busy_s: float


class Answers(Record):
    """What was answered to a batch: a Parquet blob in the order of the rows.

    Columns: ``prediction_id``, the outputs (``predict``; ``score``, or ``score_0`` … of several classes), ``version``, ``arm``.
    """

    deployment: Name
    revision: Number
    rows: Count
    blob: Digest


class Deploy(Request[Revision]):
    """Serve a model version under a name, all of its traffic at once.

    In production the version needs a passing verdict, or an override with a reason by somebody who may override.
    """

    operation = "serving.deploy"
    permission = "deployment:deploy"
    deployment: Name
    model: ModelName
    number: Number | None = None
    alias: Line | None = None
    environment: Name = PRODUCTION
    options: DeploymentOptions | None = None
    reason: Text = ""
    override_reason: Text = ""


class StartCanary(Request[Revision]):
    """Give a version a share of the traffic beside the stable one; a share of 0 makes it a shadow that answers nobody.

    With ``grow`` it is rolled out from that share on: by ``plan``, else by the deployment's own, else in default steps.
    """

    operation = "serving.start_canary"
    permission = "deployment:deploy"
    deployment: Name
    number: Number
    model: ModelName | None = None
    share: Share = 0.1
    grow: bool = False
    plan: RolloutPlan | None = None
    reason: Text = ""
    override_reason: Text = ""


class SetTraffic(Request[Revision]):
    """Change the share of the canary under way."""

    operation = "serving.set_traffic"
    permission = "deployment:deploy"
    deployment: Name
    share: Share
    reason: Text = ""


class JudgeCanary(Request[CanaryVerdict]):
    """Compare the canary with the stable version on what both have answered since it started."""

    operation = "serving.judge_canary"
    permission = "deployment:deploy"
    effect: ClassVar[Effect] = "work"
    deployment: Name
    limits: CanaryLimits = CanaryLimits()


class PromoteCanary(Request[Revision]):
    """Make the canary the stable version; needs a passed judgement of it, or an override with a reason."""

    operation = "serving.promote_canary"
    permission = "deployment:deploy"
    deployment: Name
    reason: Text = ""
    override_reason: Text = ""


class AbortCanary(Request[Revision]):
    """Take the canary, or the shadow, out of traffic."""

    operation = "serving.abort_canary"
    permission = "deployment:deploy"
    deployment: Name
    reason: Text = ""


class Rollback(Request[Revision]):
    """Go back to an earlier revision. A drill also returns at once.

    By default to the newest with another stable version; while others answer beside the stable one, to where it answered alone.
    """

    operation = "serving.rollback"
    permission = "deployment:deploy"
    deployment: Name
    to: Number | None = None
    reason: Text = ""
    drill: bool = False


class Undeploy(Request[Revision]):
    """Stop answering under a name; its log and revisions stay."""

    operation = "serving.undeploy"
    permission = "deployment:deploy"
    deployment: Name
    reason: Text = ""


class Reload(Request[Revision]):
    """Load what a deployment serves anew: by the engines that its versions have now.

    With ``since`` only where its newest revision is older than that; a later one has loaded them already.
    """

    operation = "serving.reload"
    permission = "deployment:deploy"
    deployment: Name
    reason: Text = ""
    since: Instant | None = None


class GetDeployment(Request[Deployment]):
    """One deployment."""

    operation = "serving.get_deployment"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name


class ListDeployments(Request[tuple[Deployment, ...]]):
    """Deployments of the project, by name."""

    operation = "serving.list_deployments"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"


class ListRevisions(Request[tuple[Revision, ...]]):
    """Revisions of a deployment, newest first."""

    operation = "serving.list_revisions"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name


class ListCanaryVerdicts(Request[tuple[CanaryVerdict, ...]]):
    """Judgements of a deployment's canaries, newest first."""

    operation = "serving.list_canary_verdicts"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name


class Predict(Request[Answers]):
    """Answer a batch kept as a Parquet blob; optional columns ``prediction_id`` and ``event_time`` are not inputs."""

    operation = "serving.predict"
    permission = "prediction:predict"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    deployment: Name
    rows: Digest


class FindPrediction(Request[Prediction]):
    """One logged prediction with its inputs."""

    operation = "serving.find_prediction"
    permission = "prediction:read"
    effect: ClassVar[Effect] = "read"
    id: Key
    deployment: Name | None = None


class TracePrediction(Request[Trace]):
    """What a prediction came from: revision, model version, run, code, lock, dataset versions, approver."""

    operation = "serving.trace_prediction"
    permission = "lineage:read"
    effect: ClassVar[Effect] = "read"
    id: Key
    deployment: Name | None = None


class ExportPredictions(Request[Digest]):
    """Logged predictions as a Parquet blob, by event time [start, end); those that meet every condition given.

    With ``details`` come latency, caller, flags, all scores, and ids of request and trace.
    """

    operation = "serving.export_predictions"
    permission = "prediction:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name
    start: Instant | None = None
    end: Instant | None = None
    arm: Arm | None = None
    model: Line = ""
    number: Number | None = None
    revision: Number | None = None
    flag: Line = ""
    caller: Line = ""
    ids: tuple[Key, ...] = ()
    where: Text = ""
    columns: tuple[Line, ...] = ()
    details: bool = False


class CountServed(Request[tuple[ServedRows, ...]]):
    """Rows served by version, arm and day."""

    operation = "serving.count_served"
    permission = "prediction:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name


class CompactLog(Request[Count]):
    """Move sealed segments of the prediction log into Parquet; answers how many segments were moved.

    ``seal`` first ends the segment that this process has open, which otherwise ends a minute after it began.
    """

    operation = "serving.compact_log"
    permission = "prediction:write"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    seal: bool = True


class DeploymentChanged(Event):
    """A deployment has a new revision."""

    kind: ClassVar[str] = "serving.deployment_changed"
    deployment: Name
    revision: Number
    change: Change
    model: ModelName
    number: Number


class PromotionHeld(Event):
    """A version was about to get more of the traffic, and what is said of it now stands against that."""

    kind: ClassVar[str] = "serving.promotion_held"
    deployment: Name
    model: ModelName
    number: Number
    reason: Text


class CanaryJudged(Event):
    """A canary was judged."""

    kind: ClassVar[str] = "serving.canary_judged"
    deployment: Name
    revision: Number
    outcome: Line
    model: ModelName
    number: Number
