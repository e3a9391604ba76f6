"""Records and requests of A/B tests: arms of a deployment compared by a reward of labelled rows, looked at any time."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.events import Event
from rung.core.records import AnyFloat, Count, Digest, Id, Instant, Key, Line, ModelName, Name, Number, Record, Share, Text
from rung.core.requests import Effect, Request
from rung.serving.records import Arm, Revision

Reward = Literal["label", "correct", "squared_error", "value"]
AbState = Literal["running", "stopped", "overtaken"]


class ArmWish(Record):
    """A version that wants a share of the requests in an A/B test."""

    model: ModelName
    number: Number
    share: Share


class AbArm(Record):
    """An arm of an A/B test."""

    arm: Arm
    model: ModelName
    number: Number
    share: Share


class ArmLook(Record):
    """What one arm has earned, and how it compares with the stable one.

    ``low`` and ``high`` bound the difference of the mean rewards, at every look at once; ``p`` may be read at any time.
    """

    arm: Arm
    model: ModelName
    number: Number
    share: Share
    rows: Count
    labelled: Count
    mean: AnyFloat
    error: AnyFloat
    difference: AnyFloat = float("nan")
    low: AnyFloat = float("nan")
    high: AnyFloat = float("nan")
    p: AnyFloat = 1.0


class AbLook(Record):
    """One look at an A/B test."""

    id: Id
    test: Id
    deployment: Name
    revision: Number
    arms: tuple[ArmLook, ...]
    labelled: Count
    conclusion: Line
    better: Arm | None = None
    watermark: Instant | None = None
    created_at: Instant


class AbTest(Record):
    """A/B test of a deployment: arms, reward, and the newest look."""

    id: Id
    deployment: Name
    arms: tuple[AbArm, ...]
    policy: Key
    reward: Reward
    values: dict[Line, float] = {}
    threshold: float = 0.5
    alpha: Share = 0.05
    planned_rows: Number = 10_000
    state: AbState
    first_revision: Number
    revision: Number
    latest: AbLook | None = None
    reason: Text = ""
    started_at: Instant
    started_by: Line
    changed_at: Instant


class StartAb(Request[AbTest]):
    """Begin an A/B test: every arm its share beside the stable version, which keeps the rest.

    ``policy`` is ``split`` for a test with fixed shares, ``epsilon_greedy`` or ``thompson`` for shares that follow the rewards.
    ``reward`` is what a labelled row earns: its label, whether score and label agree at ``threshold``, less its squared error, or
    money by ``values`` (tp, fp, fn, tn). ``planned_rows`` labelled rows an arm is where the interval is narrowest.
    """

    operation = "serving.start_ab"
    permission = "deployment:deploy"
    deployment: Name
    arms: Annotated[tuple[ArmWish, ...], Meta(min_length=1, max_length=98)]
    policy: Key = "split"
    settings: dict[Key, Any] = {}
    reward: Reward = "correct"
    values: dict[Line, float] = {}
    threshold: float = 0.5
    alpha: Annotated[float, Meta(gt=0, lt=0.5)] = 0.05
    planned_rows: Annotated[int, Meta(ge=10, le=2**31 - 1)] = 10_000
    sticky: Line | None = None
    reason: Text = ""
    override_reason: Text = ""


class LookAtAb(Request[AbTest]):
    """Look at an A/B test with the labels known now; a policy that learns moves its shares.

    ``labels`` is a Parquet blob of ``prediction_id`` and ``label``; every prediction counts once, with its newest label.
    """

    operation = "serving.look_at_ab"
    permission = "deployment:deploy"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    deployment: Name
    labels: Digest


class StopAb(Request[Revision]):
    """End an A/B test; ``keep`` names the arm that becomes the stable version."""

    operation = "serving.stop_ab"
    permission = "deployment:deploy"
    deployment: Name
    keep: Arm = "stable"
    reason: Text = ""
    override_reason: Text = ""


class GetAb(Request[AbTest]):
    """The newest A/B test of a deployment."""

    operation = "serving.get_ab"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name


class ListAb(Request[tuple[AbTest, ...]]):
    """A/B tests, newest first; only those that run with ``active``."""

    operation = "serving.list_ab"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name | None = None
    active: bool = False


class ListAbLooks(Request[tuple[AbLook, ...]]):
    """Looks at a deployment's newest A/B test, newest first."""

    operation = "serving.list_ab_looks"
    permission = "deployment:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name


class AbStarted(Event):
    """An A/B test began."""

    kind: ClassVar[str] = "serving.ab_started"
    deployment: Name
    test: Id


class AbConcluded(Event):
    """An A/B test can tell its arms apart, for the first time."""

    kind: ClassVar[str] = "serving.ab_concluded"
    deployment: Name
    test: Id
    better: Arm
    conclusion: Line
