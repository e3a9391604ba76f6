"""The toy world of a planted unit bug, a harmless shift and real changes of concept: the diagnosed policy earns most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from rung.value.records import PolicySettings
from rung.value.replay import Stakes, quality, rehearse
from tests.unit.value.test_rules import MATRIX

WEEKS, ROWS, DELAY, FIRST = 104, 1500, 4, 8


class Toy:
    """Slow concept drift weeks 15-35, harmless shift from 45, a unit bug (x100) weeks 60-63, sudden change at 80."""

    first, delay = FIRST, DELAY

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.inputs, self.truth, self.trained = [], [], 0
        for week in range(WEEKS):
            x = draw.normal(size=(ROWS, 4))
            slow = min(max((week - 15) / 20, 0.0), 1.0)
            w = np.array([1.6 - 2.4 * slow, 1.2, 0.8 * slow, 0.0])
            if week >= 80:
                w = np.array([-0.8, -1.2, 1.6, 0.0])
            p = 1 / (1 + np.exp(-(x @ w - 1.2)))
            if week >= 45:
                x[:, 3] += 1.5
            if 60 <= week <= 63:
                x[:, 1] *= 100
            self.inputs.append(x)
            self.truth.append((draw.random(ROWS) < p).astype(float))

    @property
    def periods(self) -> Sequence[str]:
        return [f"week {week}" for week in range(WEEKS)]

    def train(self, upto: int) -> LogisticRegression:
        self.trained += 1
        weeks = [week for week in range(max(upto - 8, 0), upto) if self.cause(week) != "data_break"] or [upto - 9]
        return LogisticRegression().fit(np.concatenate([self.inputs[w] for w in weeks]), np.concatenate([self.truth[w] for w in weeks]))

    def scores(self, model: LogisticRegression, period: int) -> np.ndarray:
        return model.predict_proba(self.inputs[period])[:, 1]

    def labels(self, period: int) -> np.ndarray:
        return self.truth[period]

    def drift(self, upto: int, period: int) -> float:
        before, now = np.concatenate(self.inputs[max(upto - 8, 0) : upto]), self.inputs[period]
        return float(
            max(
                abs(now[:, k].mean() - before[:, k].mean()) / before[:, k].std() + abs(np.log(now[:, k].std() / before[:, k].std()))
                for k in range(4)
            )
        )

    def cause(self, period: int) -> str:
        return "data_break" if 60 <= period <= 63 else "concept_drift"


def test_the_diagnosed_policy_earns_more_than_never_calendar_and_drift() -> None:
    settings = PolicySettings(period_days=7, every_periods=4, horizon_periods=12, cooldown_days=28, effect_floor=0.3, allowed_loss=0.05)
    stakes = Stakes(matrix=MATRIX, threshold=0.25, cost=960.0, holdout=2)
    for seed in range(2):
        world = Toy(seed)
        outcomes, trainings = rehearse(world, stakes, settings)
        net = {item.policy: item.net for item in outcomes}
        assert max(net, key=lambda name: net[name]) == "diagnosed_with_cost", net
        assert world.trained == trainings  # shared: no instant is trained for twice
        by_name = {item.policy: item for item in outcomes}
        assert by_name["never"].retrainings == 0
        assert by_name["diagnosed_with_cost"].retrainings < by_name["periodic"].retrainings
        assert all(
            p.action != "retrain" for p in by_name["diagnosed_with_cost"].periods if p.period in {f"week {w}" for w in range(60, 64)}
        )
        assert net["never"] == sum(p.gross for p in by_name["never"].periods)


def test_quality_is_roc_auc() -> None:
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(1)
    score, label = draw.integers(0, 20, 500) / 20, (draw.random(500) < 0.3).astype(float)
    assert abs(quality(score, label) - roc_auc_score(label, score)) < 1e-12
