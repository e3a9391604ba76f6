"""What every retraining policy must keep to, built in or brought along."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from rung.core.records import replaced
from rung.value.policy import POLICIES, propose
from rung.value.records import Evidence, Interval, PolicySettings

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SURE = Interval(estimate=1000.0, low=800.0, high=1200.0)
TEMPTING = Evidence(
    as_of=NOW, cause="concept_drift", curable=True, drift_effect=9.0, performance_loss=0.5, gain_per_period=SURE, loss_per_period=SURE,
    cost=10.0, accumulated_loss=1e6,
)  # fmt: skip
SETTINGS = PolicySettings()


@pytest.mark.parametrize("name", POLICIES.names())
def test_a_policy_answers_alike_twice_and_says_why(name: str) -> None:
    policy = POLICIES.get(name)
    assert policy(TEMPTING, SETTINGS) == policy(TEMPTING, SETTINGS)
    assert policy(TEMPTING, SETTINGS).reasons
    assert policy(Evidence(as_of=NOW), SETTINGS).reasons


@pytest.mark.parametrize(
    ("name", "cause"), list(product(POLICIES.names(), ["data_break", "training_serving_skew", "leakage", "immature_labels"]))
)
def test_no_policy_retrains_on_what_retraining_cannot_cure(name: str, cause: str) -> None:
    assert propose(name, replaced(TEMPTING, cause=cause, curable=False), SETTINGS).action != "retrain"
    assert propose(name, replaced(TEMPTING, cause=cause, curable=True), SETTINGS).action != "retrain"


@pytest.mark.parametrize("name", POLICIES.names())
@pytest.mark.parametrize(
    "change",
    [
        {"labels_ready": False, "labelled_share": 0.1},
        {"open_data_fault": True},
        {"fresh_version": True},
        {"last_retrained_at": NOW - timedelta(days=1)},
        {"retrainings_this_month": 2},
    ],
)
def test_no_policy_gets_past_the_guards(name: str, change: dict[str, object]) -> None:
    assert propose(name, replaced(TEMPTING, **change), SETTINGS).action != "retrain"


def test_the_diagnosed_policy_asks_for_the_lower_bound() -> None:
    # horizon 3 periods, margin 1.5: 3 x low must exceed 1.5 x cost
    just = replaced(TEMPTING, gain_per_period=Interval(estimate=100.0, low=50.1, high=150.0), cost=100.0, accumulated_loss=0.0)
    short = replaced(just, gain_per_period=Interval(estimate=100.0, low=49.9, high=150.0))
    assert propose("diagnosed_with_cost", just, SETTINGS).action == "retrain"
    assert propose("diagnosed_with_cost", short, SETTINGS).action == "wait"
    assert propose("diagnosed_with_cost", replaced(short, accumulated_loss=100.0), SETTINGS).action == "retrain"


def test_without_money_the_diagnosed_policy_waits() -> None:
    assert propose("diagnosed_with_cost", replaced(TEMPTING, gain_per_period=None), SETTINGS).action == "wait"
