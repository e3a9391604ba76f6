from __future__ import annotations

import numpy as np
import pytest

from rung.stats.outcomes import auc, confusion, estimate
from rung.stats.shift import concept_change, intercept, logits, prior_change, sigmoid


def test_auc_and_log_loss_equal_scikit_learn() -> None:
    from sklearn.metrics import log_loss, roc_auc_score

    generator = np.random.default_rng(3)
    y = (generator.random(500) < 0.3).astype(float)
    s = np.round(np.clip(0.3 * y + generator.random(500) * 0.7, 0.01, 0.99), 2)
    found = estimate("auc", y, s)
    assert found is not None
    assert found.value == pytest.approx(roc_auc_score(y, s), rel=1e-12)
    loss = estimate("log_loss", y, s)
    assert loss is not None
    assert loss.value == pytest.approx(log_loss(y, s), rel=1e-9)


def test_the_standard_error_of_auc_is_that_of_repeated_samples() -> None:
    generator = np.random.default_rng(4)
    values, errors = [], []
    for _ in range(300):
        y = np.repeat([1.0, 0.0], [60, 140])
        found = auc(y, generator.normal(y, 1))
        assert found is not None
        values.append(found.value)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.12)


def test_auc_without_one_class_is_unknown() -> None:
    assert auc(np.ones(5), np.arange(5.0)) is None


def test_outcomes_are_counted_at_the_threshold() -> None:
    assert confusion(np.array([1.0, 1, 0, 0]), np.array([0.5, 0.4, 0.9, 0.1]), 0.5) == {"tp": 1, "fp": 1, "fn": 1, "tn": 1}


def _world(days: int, *, slope: float = 1.0, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two columns, 400 rows a day; the served score knows slope 1 and shift 0."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(days * 400, 2))
    served = sigmoid(x[:, 0] - 1)
    y = (generator.random(len(x)) < sigmoid(slope * x[:, 0] - 1 + shift)).astype(float)
    return x, y, served, np.repeat(np.arange(days), 400)


def test_an_unchanged_world_shows_no_concept_drift() -> None:
    found = concept_change(*_world(28), threshold=0.5)
    assert found is not None
    assert found.t < 2.2


def test_a_reversed_slope_is_concept_drift_of_that_column() -> None:
    found = concept_change(*_world(28, slope=-1.0), threshold=0.5)
    assert found is not None
    assert found.t > 5
    assert found.drivers[0] == 0
    assert found.auc_corrected > found.auc_served + 0.1


def test_a_moved_base_rate_is_the_intercept() -> None:
    x, y, served, days = _world(28, shift=0.8)
    found = prior_change(y, served, days)
    assert found.shift == pytest.approx(0.8, abs=0.1)
    assert found.z > 5
    assert intercept(y, logits(served)) == pytest.approx(found.shift)
    concept = concept_change(x, y, served, days, threshold=0.5)
    assert concept is not None
    assert concept.t < 2.2


def test_too_few_labels_or_days_say_nothing() -> None:
    x, y, served, days = _world(2)
    assert concept_change(x, y, served, days, threshold=0.5) is None
    assert concept_change(x[:20], y[:20], served[:20], days[:20], threshold=0.5) is None
