"""Records and requests of value."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from rung.core.events import Event
from rung.core.records import Count, Digest, Empty, Id, Instant, Key, Line, ModelName, Name, Number, Record, Share, Text
from rung.core.requests import Effect, Request
from rung.value.figures import Action as Action
from rung.value.figures import BaselineKind as BaselineKind
from rung.value.figures import Currency as Currency
from rung.value.figures import HoldoutComparison as HoldoutComparison
from rung.value.figures import Interval as Interval
from rung.value.figures import MonthValue as MonthValue
from rung.value.figures import PeriodOutcome as PeriodOutcome
from rung.value.figures import PolicyOutcome as PolicyOutcome
from rung.value.figures import PolicySettings as PolicySettings
from rung.value.figures import RealisedGain as RealisedGain
from rung.value.figures import Rehearsal as Rehearsal
from rung.value.figures import ThresholdAdvice as ThresholdAdvice
from rung.value.figures import ValueReport as ValueReport

CostKind = Literal["compute", "serving", "storage", "labels", "people", "incidents", "other"]


class ValueMatrix(Record):
    """Money per outcome of a model; immutable, numbered per model, the newest one is in force.

    Classification counts ``tp fp fn tn``. Regression counts ``over`` and ``under`` per unit of error beyond ``free``.
    ``before_per_1000`` is what a thousand cases were worth before there was a model, if somebody measured it.
    """

    id: Id
    model: ModelName
    number: Number
    currency: Currency
    tp: float = 0.0
    fp: float = 0.0
    fn: float = 0.0
    tn: float = 0.0
    over: float = 0.0
    under: float = 0.0
    free: float = 0.0
    before_per_1000: float | None = None
    note: Line = ""
    created_at: Instant
    created_by: Line


class Goal(Record):
    """Why a model exists, by which figure that is judged, and who answers for it."""

    model: ModelName
    goal: Text
    kpi: Line
    owner: Line
    backup: Line = ""
    reviewed_at: Instant


class Rate(Record):
    """A declared price of the cost ledger."""

    name: Line
    amount: float
    unit: Line
    currency: Currency


class LedgerEntry(Record):
    """Money spent on a model. Entries are only ever added; a correction is another entry.

    ``amount`` is ``quantity`` times ``rate``. ``spent_at`` is the instant the money belongs to, in the time of the
    predictions: a run started by a decision counts at that decision's ``as_of``.
    """

    id: Id
    model: ModelName
    kind: CostKind
    amount: float
    currency: Currency
    quantity: float
    unit: Line
    rate: float
    basis: Line
    subject: Line = ""
    spent_at: Instant
    created_at: Instant
    created_by: Line


class RetrainingPolicy(Record):
    """Which rule decides about a model's retraining, and why that one; numbered, the newest is in force."""

    id: Id
    model: ModelName
    number: Number
    policy: Name
    settings: PolicySettings
    reason: Text
    created_at: Instant
    created_by: Line


class Evidence(Record):
    """Everything a policy may look at, as known at ``as_of``. Money is per period; None means not known."""

    as_of: Instant
    cause: Name = "none"
    curable: bool = False
    open_data_fault: bool = False
    labels_ready: bool = True
    labelled_share: Share = 1.0
    drift_effect: float | None = None
    performance_loss: float | None = None
    loss_per_period: Interval | None = None
    gain_per_period: Interval | None = None
    gain_basis: Line = ""
    cost: float | None = None
    cost_parts: dict[str, float] = {}
    accumulated_loss: float = 0.0
    last_retrained_at: Instant | None = None
    retrainings_this_month: Count = 0
    fresh_version: bool = False


class Proposal(Record):
    """What a policy proposes on given evidence, and why."""

    action: Action
    reasons: tuple[str, ...]
    expected_gain: Interval | None = None
    needed: float | None = None
    accumulated_loss: float = 0.0


class Decision(Record):
    """A policy's stored answer to an incident or to a question of somebody's.

    ``expected_gain`` covers ``horizon_periods``; a retraining needs its lower bound above ``margin`` times ``cost``.
    """

    id: Id
    number: Number
    deployment: Name
    model: ModelName
    version: Number
    action: Action
    policy: Name
    policy_number: Number | None
    incident: Id | None
    diagnosis: Id | None
    cause: Name
    curable: bool
    reasons: tuple[str, ...]
    expected_gain: Interval | None
    gain_basis: Line
    cost: float | None
    cost_parts: dict[str, float]
    margin: float
    horizon_periods: float
    currency: Currency
    evidence: Evidence
    settings: PolicySettings
    challenger: Line = ""
    as_of: Instant
    created_at: Instant
    created_by: Line


class SetMatrix(Request[ValueMatrix]):
    """Say what each outcome of a model is worth; a new number, the older ones stay."""

    operation = "value.set_matrix"
    permission = "value:write"
    model: ModelName
    tp: float = 0.0
    fp: float = 0.0
    fn: float = 0.0
    tn: float = 0.0
    over: float = 0.0
    under: float = 0.0
    free: Annotated[float, Meta(ge=0)] = 0.0
    before_per_1000: float | None = None
    currency: Currency | None = None
    note: Line = ""


class GetMatrix(Request[ValueMatrix]):
    """The value matrix of a model: the newest, or a given number. Raises NotFound."""

    operation = "value.get_matrix"
    permission = "value:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    number: Number | None = None


class ListMatrices(Request[tuple[ValueMatrix, ...]]):
    """The value matrix in force for every model that has one."""

    operation = "value.list_matrices"
    permission = "value:read"
    effect: ClassVar[Effect] = "read"


class SetGoal(Request[Goal]):
    """Write down, or review, a model's goal, its figure and its owner."""

    operation = "value.set_goal"
    permission = "value:write"
    model: ModelName
    goal: Annotated[str, Meta(min_length=1, max_length=10_000)]
    kpi: Annotated[str, Meta(min_length=1, max_length=1000)]
    owner: Annotated[str, Meta(min_length=1, max_length=250)]
    backup: Line = ""


class GetGoal(Request[Goal]):
    """The goal of a model. Raises NotFound."""

    operation = "value.get_goal"
    permission = "value:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName


class ListRates(Request[tuple[Rate, ...]]):
    """The prices the ledger is computed from; they are settings (`rates.*`)."""

    operation = "value.list_rates"
    permission = "value:read"
    effect: ClassVar[Effect] = "read"


class AddCost(Request[LedgerEntry]):
    """Enter a cost by hand: an ``amount``, or ``hours`` of work at the declared rate. A correction may be negative."""

    operation = "value.add_cost"
    permission = "value:write"
    model: ModelName
    kind: CostKind
    amount: Annotated[float, Meta(ge=-1e12, le=1e12)] | None = None
    hours: Annotated[float, Meta(ge=-1e6, le=1e6)] | None = None
    note: Annotated[str, Meta(min_length=1, max_length=1000)]
    spent_at: Instant | None = None


class ListCosts(Request[tuple[LedgerEntry, ...]]):
    """The cost ledger, oldest first."""

    operation = "value.list_costs"
    permission = "value:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName | None = None
    kind: CostKind | None = None


class BookCosts(Request[tuple[LedgerEntry, ...]]):
    """Enter what runs, serving and storage of a model cost since they were last booked; answers the new entries."""

    operation = "value.book_costs"
    permission = "value:write"
    effect: ClassVar[Effect] = "work"
    model: ModelName
    as_of: Instant | None = None


class MakeReport(Request[ValueReport]):
    """Compute and keep a value report. Without ``start`` and ``end`` it covers all predictions up to ``as_of``."""

    operation = "value.report"
    permission = "value:write"
    effect: ClassVar[Effect] = "work"
    model: ModelName
    deployment: Name | None = None
    start: Instant | None = None
    end: Instant | None = None
    as_of: Instant | None = None


class GetReport(Request[ValueReport]):
    """The newest kept value report of a model, or a given number. Raises NotFound."""

    operation = "value.get_report"
    permission = "value:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    number: Number | None = None


class ListReports(Request[tuple[ValueReport, ...]]):
    """Kept value reports, newest first."""

    operation = "value.list_reports"
    permission = "value:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class SetRetrainingPolicy(Request[RetrainingPolicy]):
    """Choose the rule that decides about a model's retraining, and say why."""

    operation = "value.set_policy"
    permission = "value:manage"
    model: ModelName
    policy: Name
    settings: PolicySettings = PolicySettings()
    reason: Annotated[str, Meta(min_length=1, max_length=10_000)]


class GetRetrainingPolicy(Request[RetrainingPolicy]):
    """The policy in force for a model. Raises NotFound."""

    operation = "value.get_policy"
    permission = "value:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName


class ListPolicies(Request[tuple[RetrainingPolicy, ...]]):
    """The policy in force for every model that has one."""

    operation = "value.list_policies"
    permission = "value:read"
    effect: ClassVar[Effect] = "read"


class Decide(Request[Decision]):
    """Decide what follows from an incident, or from the state of a deployment; the same incident is decided once an ``as_of``.

    ``challenger`` is a version of the same model, trained on older rows only: its values are then compared with those of
    the serving version on the newest mature rows. Without one, the gain is estimated from the measured loss.
    """

    operation = "value.decide"
    permission = "decision:run"
    effect: ClassVar[Effect] = "work"
    incident: Key | None = None
    deployment: Name | None = None
    challenger: Number | None = None
    as_of: Instant | None = None
    dry_run: bool = False


class GetDecision(Request[Decision]):
    """A decision by id or number. Raises NotFound."""

    operation = "value.get_decision"
    permission = "decision:read"
    effect: ClassVar[Effect] = "read"
    decision: Key


class ListDecisions(Request[tuple[Decision, ...]]):
    """Decisions, newest first."""

    operation = "value.list_decisions"
    permission = "decision:read"
    effect: ClassVar[Effect] = "read"
    deployment: Name | None = None
    model: ModelName | None = None
    action: Action | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class Realise(Request[RealisedGain]):
    """Compare the version a retraining brought with the one it replaced, on rows that have matured since."""

    operation = "value.realise"
    permission = "decision:run"
    effect: ClassVar[Effect] = "work"
    decision: Key
    end: Instant | None = None
    as_of: Instant | None = None


class ListRealised(Request[tuple[RealisedGain, ...]]):
    """Realised gains, newest first."""

    operation = "value.list_realised"
    permission = "decision:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName | None = None
    decision: Id | None = None


class SaveRehearsal(Request[Rehearsal]):
    """Keep the result of a rehearsal that ran in the caller's process."""

    operation = "value.save_rehearsal"
    permission = "value:write"
    model: ModelName
    title: Line = ""
    currency: Currency
    basis: Line
    periods: tuple[str, ...]
    outcomes: Annotated[tuple[PolicyOutcome, ...], Meta(min_length=1, max_length=50)]
    trainings: Count = 0
    wall_s: Annotated[float, Meta(ge=0)] = 0.0
    settings: PolicySettings = PolicySettings()
    inputs: tuple[Digest, ...] = ()


class GetRehearsal(Request[Rehearsal]):
    """The newest rehearsal of a model, or a given number. Raises NotFound."""

    operation = "value.get_rehearsal"
    permission = "value:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    number: Number | None = None


class ListRehearsals(Request[tuple[Rehearsal, ...]]):
    """Kept rehearsals, newest first."""

    operation = "value.list_rehearsals"
    permission = "value:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName | None = None


class FollowRenamed(Request[Empty]):
    """Let what is recorded of a model's value follow its new name; the engine asks this when a model is renamed."""

    operation = "value.follow_renamed"
    permission = "value:write"
    model: ModelName
    previous: ModelName


class DecisionMade(Event):
    """A policy answered; ``retrain`` is what a trigger of kind ``decision`` waits for."""

    kind: ClassVar[str] = "value.decision_made"
    decision: Id
    action: Action
    deployment: Name
    model: ModelName
    incident: Id | None = None
    as_of: Instant
