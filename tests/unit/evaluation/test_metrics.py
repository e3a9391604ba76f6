"""Metrics against scikit-learn, weights included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from rung.core.errors import Invalid, NotFound
from rung.evaluation.metric import METRICS, all_scores, metric_for

RNG = np.random.default_rng(7)
N = 400
LABELS = (RNG.random(N) < 0.3).astype(float)
SCORES = np.round(np.clip(0.3 + 0.2 * LABELS + RNG.normal(0, 0.2, N), 0.01, 0.99), 2)  # rounded: ties matter
WEIGHTS = RNG.multinomial(N, np.full(N, 1 / N), size=3).astype(float)
SAID = (SCORES >= 0.5).astype(float)
BINARY = {
    "roc_auc": lambda w: sk.roc_auc_score(LABELS, SCORES, sample_weight=w),
    "pr_auc": lambda w: sk.average_precision_score(LABELS, SCORES, sample_weight=w),
    "log_loss": lambda w: sk.log_loss(LABELS, SCORES, sample_weight=w),
    "brier": lambda w: sk.brier_score_loss(LABELS, SCORES, sample_weight=w),
    "accuracy": lambda w: sk.accuracy_score(LABELS, SAID, sample_weight=w),
    "precision": lambda w: sk.precision_score(LABELS, SAID, sample_weight=w),
    "recall": lambda w: sk.recall_score(LABELS, SAID, sample_weight=w),
    "f1": lambda w: sk.f1_score(LABELS, SAID, sample_weight=w),
}


@pytest.mark.parametrize("name", BINARY)
def test_a_binary_metric_equals_scikit_learn_s_with_and_without_weights(name: str) -> None:
    metric = METRICS.get(name)
    assert metric.score(LABELS, SCORES) == pytest.approx(BINARY[name](None), abs=1e-12)
    assert metric.bind(LABELS, SCORES, 0.5)(WEIGHTS) == pytest.approx([BINARY[name](w) for w in WEIGHTS], abs=1e-12)


CLASSES = RNG.integers(0, 3, N).astype(float)
MATRIX = RNG.dirichlet([1.0, 1, 1], N)
MATRIX[np.arange(N), CLASSES.astype(int)] += 0.4
MATRIX /= MATRIX.sum(axis=1, keepdims=True)
CHOSEN = MATRIX.argmax(axis=1)
MULTI = {
    "roc_auc": lambda w: sk.roc_auc_score(CLASSES, MATRIX, multi_class="ovr", sample_weight=w),
    "log_loss": lambda w: sk.log_loss(CLASSES, MATRIX, sample_weight=w),
    "accuracy": lambda w: sk.accuracy_score(CLASSES, CHOSEN, sample_weight=w),
    "precision": lambda w: sk.precision_score(CLASSES, CHOSEN, average="macro", sample_weight=w),
    "recall": lambda w: sk.recall_score(CLASSES, CHOSEN, average="macro", sample_weight=w),
    "f1": lambda w: sk.f1_score(CLASSES, CHOSEN, average="macro", sample_weight=w),
}


@pytest.mark.parametrize("name", MULTI)
def test_a_metric_of_several_classes_equals_scikit_learn_s(name: str) -> None:
    metric = METRICS.get(name)
    assert metric.score(CLASSES, MATRIX) == pytest.approx(MULTI[name](None), abs=1e-12)
    assert metric.bind(CLASSES, MATRIX, 0.5)(WEIGHTS) == pytest.approx([MULTI[name](w) for w in WEIGHTS], abs=1e-12)


VALUES = RNG.normal(10, 3, N)
GUESSES = VALUES + RNG.normal(0, 1, N)
REGRESSION = {
    "mae": lambda w: sk.mean_absolute_error(VALUES, GUESSES, sample_weight=w),
    "rmse": lambda w: sk.root_mean_squared_error(VALUES, GUESSES, sample_weight=w),
    "r2": lambda w: sk.r2_score(VALUES, GUESSES, sample_weight=w),
}


@pytest.mark.parametrize("name", REGRESSION)
def test_a_regression_metric_equals_scikit_learn_s(name: str) -> None:
    metric = METRICS.get(name)
    assert metric.score(VALUES, GUESSES) == pytest.approx(REGRESSION[name](None), abs=1e-12)
    assert metric.bind(VALUES, GUESSES, 0.5)(WEIGHTS) == pytest.approx([REGRESSION[name](w) for w in WEIGHTS], abs=1e-12)


def test_calibration_error_of_two_bins_agrees_with_the_hand() -> None:
    # scores 0.2 (half positive) and 0.6 (all positive), two rows each: (2 * 0.3 + 2 * 0.4) / 4 = 0.35
    assert METRICS.get("ece").score(np.array([0.0, 1, 1, 1]), np.array([0.2, 0.2, 0.6, 0.6])) == pytest.approx(0.35)


def test_scores_that_the_rows_do_not_define_are_left_out() -> None:
    found = all_scores("binary", np.zeros(5), np.full(5, 0.2))
    assert "roc_auc" not in found
    assert "precision" not in found
    assert found["accuracy"] == 1.0
    assert math.isnan(METRICS.get("roc_auc").score(np.zeros(0), np.zeros(0)))


def test_an_unknown_metric_or_one_of_another_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match="roc_auc"):
        metric_for("auc", "binary")
    with pytest.raises(Invalid, match="mae"):
        metric_for("roc_auc", "regression")
