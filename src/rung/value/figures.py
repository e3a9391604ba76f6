"""Figures that value computes: reports, realised gains, rehearsals, and the numbers of a policy they rest on."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from rung.core.records import Count, Id, Instant, Line, ModelName, Name, Number, Record, Share

BaselineKind = Literal["holdout", "shadow", "before_after", "no_model"]
Action = Literal["retrain", "fix_data", "wait", "rollback", "nothing"]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
Hours = Annotated[float, Meta(ge=0, le=1e6)]


class Interval(Record):
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float


class PolicySettings(Record):
    """The numbers of a retraining policy.

    A period is ``period_days`` long. ``margin`` is the m of "gain > m x cost". ``recoverable`` is the share of a measured
    loss that a retraining is taken to win back when no challenger was measured. ``effect_floor`` and ``allowed_loss`` are
    the lines of the drift and performance triggers.
    """

    period_days: Annotated[int, Meta(ge=1, le=366)] = 30
    every_periods: Annotated[int, Meta(ge=1, le=1000)] = 1
    margin: Annotated[float, Meta(ge=0, le=100)] = 1.5
    horizon_periods: Annotated[float, Meta(gt=0, le=1000)] = 3.0
    recoverable: Share = 0.5
    min_labelled: Share = 0.5
    effect_floor: Annotated[float, Meta(ge=0)] = 0.1
    allowed_loss: Annotated[float, Meta(ge=0)] = 0.02
    cooldown_days: Annotated[float, Meta(ge=0, le=3660)] = 20.0
    budget_per_month: Annotated[int, Meta(ge=0, le=1000)] = 2
    fail_probability: Share = 0.02
    fail_loss: Annotated[float, Meta(ge=0)] = 0.0
    people_hours: Hours = 0.5


class MonthValue(Record):
    """One month of a model, by prediction time. Money of rows without a label stands apart in ``pending``."""

    month: Line
    predictions: Count
    acted: Count
    matured: Count
    matured_share: Share
    gross: float
    baseline: float
    incremental: Interval
    costs: dict[str, float]
    cost: float
    net: float
    pending: Interval | None = None


class ThresholdAdvice(Record):
    """The threshold that would have earned most on the matured rows, against the one in use."""

    current: float
    best: float
    theoretical: float
    current_value: float
    best_value: float
    lost: float


class HoldoutComparison(Record):
    """Decisions of entities that were treated beside those held out, while a holdout ran; matured ones only.

    ``treated_value`` and ``held_value`` are money per decision, ``difference`` the one less the other, its interval between
    entities. ``usable`` says whether it is the report's baseline; ``note`` why not, or what was compared.
    """

    treated: Count
    held: Count
    treated_entities: Count
    held_entities: Count
    treated_value: float | None
    held_value: float | None
    difference: Interval | None
    by: Line
    usable: bool
    note: Line


class ValueReport(Record):
    """What a model earned and cost over a period; measured on matured outcomes only.

    ``basis`` names the baseline; ``holdout`` is told wherever one ran, also where it is too thin to be the baseline.
    """

    id: Id
    number: Number
    model: ModelName
    deployment: Name
    start: Instant
    end: Instant
    as_of: Instant
    currency: Currency
    matrix: Number
    basis: BaselineKind
    basis_note: Line
    holdout: HoldoutComparison | None = None
    predictions: Count
    acted: Count
    matured: Count
    matured_share: Share
    outcomes: dict[str, int]
    gross: float
    baseline: float
    incremental: Interval
    costs: dict[str, float]
    cost: float
    net: Interval
    roi: float | None
    roi_low: float | None
    roi_high: float | None
    payback_day: Instant | None
    break_even_predictions: float | None
    value_per_1000: float | None
    threshold: ThresholdAdvice | None
    pending_rows: Count
    pending: Interval | None
    months: tuple[MonthValue, ...]
    undated_cost: float
    notes: tuple[str, ...]
    created_at: Instant
    created_by: Line


class RealisedGain(Record):
    """What a retraining really changed: the new version against the replaced one on the same matured rows."""

    id: Id
    decision: Id
    model: ModelName
    replaced: Number
    version: Number
    start: Instant
    end: Instant
    as_of: Instant
    rows: Count
    gain: Interval
    per_period: Interval
    expected_per_period: float | None
    improved: bool
    basis: Line
    created_at: Instant


class PeriodOutcome(Record):
    """One period of a rehearsal under one policy."""

    period: Line
    rows: Count
    action: Action
    trained_upto: Line
    gross: float
    cost: float
    net: float
    reason: Line = ""
    score: float | None = None


class PolicyOutcome(Record):
    """What one policy would have done over the whole history."""

    policy: Name
    title: Line
    retrainings: Count
    gross: float
    cost: float
    net: float
    advantage: Interval | None = None
    periods: tuple[PeriodOutcome, ...]


class Rehearsal(Record):
    """History replayed under several policies. ``advantage`` compares each net with that of the policy rehearsed for."""

    id: Id
    number: Number
    model: ModelName
    title: Line
    currency: Currency
    basis: Line
    periods: tuple[str, ...]
    outcomes: tuple[PolicyOutcome, ...]
    best: Name
    trainings: Count
    wall_s: float
    digest: Line
    settings: PolicySettings
    created_at: Instant
    created_by: Line
