"""Rehearsal: history replayed under retraining policies, one decision at the end of each period.

At the end of period t a policy sees what was known then: inputs up to t, labels up to t less the label delay. A model
trained at that instant learns from the mature periods only and serves from t + 1. Trainings are shared by policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np

from rung.core.records import replaced
from rung.value import rules
from rung.value.policy import POLICIES, cooling
from rung.value.records import Evidence, Interval, PeriodOutcome, PolicyOutcome, PolicySettings, ValueMatrix

TITLES = {
    "never": "never",
    "periodic": "on a calendar",
    "drift_triggered": "when inputs drift",
    "performance_triggered": "when performance falls",
    "diagnosed_with_cost": "when the cause is curable and the gain covers the cost",
}
_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)


class World(Protocol):
    """A history that can be lived through again. Periods are numbered from 0; ``first`` is the first that is served."""

    @property
    def periods(self) -> Sequence[str]:
        """Names of the periods, in order."""
        ...

    @property
    def first(self) -> int:
        """Number of the first period served; the first model learns from those before it."""
        ...

    @property
    def delay(self) -> int:
        """Periods until labels are known."""
        ...

    def train(self, upto: int) -> Any:
        """A model trained on the rows of periods before ``upto``."""
        ...

    def scores(self, model: Any, period: int) -> rules.Floats:
        """What the model says about the rows of a period, shape (n,)."""
        ...

    def labels(self, period: int) -> rules.Floats:
        """The truth of those rows, shape (n,)."""
        ...

    def drift(self, upto: int, period: int) -> float:
        """The greatest drift effect of any column of a period against what a model of ``upto`` was trained on."""
        ...

    def cause(self, period: int) -> str:
        """What the diagnosis said at the end of a period: a data fault, a curable cause, or ``unknown`` for none found."""
        ...


@dataclass(frozen=True)
class Stakes:
    """Money of a rehearsal: the matrix, the threshold models act at (None: values), and what one retraining costs."""

    matrix: ValueMatrix
    threshold: float | None
    cost: float
    holdout: int = 1


@dataclass
class _Play:
    """One policy going through a world."""

    world: World
    stakes: Stakes
    settings: PolicySettings
    trained: dict[int, Any]
    scored: dict[tuple[int, int], rules.Floats]
    upto: int
    since: int
    accumulated: float = 0.0
    last: int | None = None
    references: dict[int, float] = field(default_factory=dict)

    def model(self, upto: int) -> Any:
        if upto not in self.trained:
            self.trained[upto] = self.world.train(upto)
        return self.trained[upto]

    def scores(self, upto: int, period: int) -> rules.Floats:
        if (upto, period) not in self.scored:
            self.scored[upto, period] = self.world.scores(self.model(upto), period)
        return self.scored[upto, period]

    def values(self, upto: int, period: int) -> rules.Floats:
        return rules.row_values(self.stakes.matrix, self.scores(upto, period), self.world.labels(period), self.stakes.threshold)

    def mature(self, now: int) -> int:
        """The first period whose labels are not known at the end of ``now``."""
        return now + 1 - self.world.delay

    def loss(self, now: int) -> float | None:
        """Quality lost since the model's first mature period, in points of ROC AUC (or relative error)."""
        newest = self.mature(now) - 1
        if newest < self.since:
            return None
        if self.upto not in self.references:
            self.references[self.upto] = quality(self.scores(self.upto, self.since), self.world.labels(self.since))
        return self.references[self.upto] - quality(self.scores(self.upto, newest), self.world.labels(newest))


def rehearse(
    world: World, stakes: Stakes, settings: PolicySettings, policies: Sequence[str] = tuple(TITLES), chosen: str = "diagnosed_with_cost"
) -> tuple[tuple[PolicyOutcome, ...], int]:
    """What each policy would have done, earned and cost, and how many models were trained for all of them together.

    Raises:
        NotFound: an unknown policy.
    """
    trained: dict[int, Any] = {}
    scored: dict[tuple[int, int], rules.Floats] = {}
    outcomes = []
    for name in policies:
        play = _Play(world, stakes, settings, trained, scored, upto=world.first, since=world.first)
        outcomes.append(_outcome(name, play))
    return _compared(outcomes, chosen), len(trained)


def _outcome(name: str, play: _Play) -> PolicyOutcome:
    policy, rows = POLICIES.get(name), []
    for now in range(play.world.first, len(play.world.periods)):
        served, earned = play.upto, play.values(play.upto, now)
        score = quality(play.scores(played := play.upto, now), play.world.labels(now))
        evidence = _evidence(name, play, now)
        proposal = policy(evidence, play.settings)
        action, reason = proposal.action, proposal.reasons[0]
        if action == "retrain" and (play.mature(now) <= play.upto or now == len(play.world.periods) - 1):
            action, reason = "wait", "There are no newer mature rows to learn from, or no period left to serve."
        if action == "retrain" and name != "periodic" and cooling(evidence, play.settings):
            action, reason = "wait", f"The last retraining was less than {play.settings.cooldown_days:g} days ago."
        cost = play.stakes.cost if action == "retrain" else 0.0
        if action == "retrain":
            play.upto, play.since, play.last, play.accumulated = play.mature(now), now + 1, now, 0.0
        gross = float(earned.sum())
        rows.append(
            PeriodOutcome(
                period=play.world.periods[now],
                rows=earned.size,
                action=action,
                trained_upto=play.world.periods[max(served - 1, 0)],
                gross=gross,
                cost=cost,
                net=gross - cost,
                reason=reason[:1000],
                score=score if played == served else None,
            )
        )
    gross, cost = sum(row.gross for row in rows), sum(row.cost for row in rows)
    count = sum(row.action == "retrain" for row in rows)
    return PolicyOutcome(
        policy=name, title=TITLES.get(name, name), retrainings=count, gross=gross, cost=cost, net=gross - cost, periods=tuple(rows)
    )


def _evidence(name: str, play: _Play, now: int) -> Evidence:
    settings, cause = play.settings, play.world.cause(now)
    at = _ORIGIN + timedelta(days=settings.period_days * (now + 1))
    # The calendar counts from the first training; a cooldown only from a retraining.
    last = play.last if play.last is not None else (play.world.first - 1 if name == "periodic" else None)
    evidence = Evidence(
        as_of=at,
        cause=cause,
        curable=cause not in {"data_break", "training_serving_skew", "leakage", "immature_labels", "none"},
        labels_ready=play.mature(now) > play.since,
        drift_effect=play.world.drift(play.upto, now),
        performance_loss=play.loss(now),
        cost=play.stakes.cost,
        cost_parts={"retraining": play.stakes.cost},
        last_retrained_at=None if last is None else _ORIGIN + timedelta(days=settings.period_days * (last + 1)),
    )
    if name != "diagnosed_with_cost" or not evidence.curable or not evidence.labels_ready or cooling(evidence, settings):
        return evidence
    gain = _gain(play, now)
    if gain is not None:
        play.accumulated += max(gain.estimate, 0.0)
    return replaced(evidence, gain_per_period=gain, accumulated_loss=play.accumulated, gain_basis="challenger on held-out mature periods")


def _gain(play: _Play, now: int) -> Interval | None:
    """Gain a period of a challenger trained on older rows only, on the newest mature periods; low is the one-sided 95 % bound."""
    mature = play.mature(now)
    upto = mature - play.stakes.holdout
    if upto <= play.upto:
        return None
    judged = [period for period in range(upto, mature) if play.world.cause(period) not in {"data_break", "training_serving_skew"}]
    if not judged:
        return None
    differences = np.concatenate([play.values(upto, period) - play.values(play.upto, period) for period in judged])
    spread = 1.645 * float(differences.std(ddof=1)) / np.sqrt(differences.size) if differences.size > 1 else 0.0
    rows, mean = differences.size / len(judged), float(differences.mean())
    return Interval(estimate=mean * rows, low=(mean - spread) * rows, high=(mean + spread) * rows)


def quality(score: rules.Floats, label: rules.Floats) -> float:
    """ROC AUC of a score for labels of two values (ties count half); else less the mean absolute error over the labels' spread."""
    positive = label > 0
    if not np.isin(label, (0.0, 1.0)).all():
        return -float(np.abs(score - label).mean() / (label.std() or 1.0))
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return 0.5
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def _compared(outcomes: list[PolicyOutcome], chosen: str) -> tuple[PolicyOutcome, ...]:
    """Outcomes with the advantage of the chosen policy over each, its interval from drawing periods."""
    ours = next((item for item in outcomes if item.policy == chosen), None)
    if ours is None:
        return tuple(outcomes)
    mine = np.array([row.net for row in ours.periods])
    blocks = np.arange(mine.size)
    told = []
    for item in outcomes:
        gap = mine - np.array([row.net for row in item.periods])
        told.append(replaced(item, advantage=rules.block_total(gap, blocks)))
    return tuple(told)
