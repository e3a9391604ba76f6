"""Contributions of columns: against SHAP's own interventional values, against enumeration, and against what they add up to."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestRegressor

from rung.registry.engine import Model
from rung.registry.engines.trees import Trees
from rung.registry.records import Field
from rung.stats.attribution import affine_shares, enumerated, forest_shares, on_scores, paths, sampled
from rung.stats.ensembles import Affine, scorer

RNG = np.random.default_rng(3)
X = RNG.normal(size=(300, 5))
Y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)


def forest_of(estimator, task, classes=()):
    inputs = tuple(Field(name=f"f{i}", dtype="Float64") for i in range(5))
    program = Trees.compile(Model(format="skops", files={}, inputs=inputs, task=task, classes=classes, estimator=lambda: estimator))
    assert not program.parts[0].steps
    return program.parts[0].body.model()


def mixtures(score, row, background):
    table = np.concatenate([background, row[None]])
    return lambda asked: score(np.ascontiguousarray(table[asked, np.arange(table.shape[1])]))


@pytest.mark.parametrize(
    "estimator",
    [
        GradientBoostingClassifier(n_estimators=20, random_state=1),
        HistGradientBoostingClassifier(max_iter=20, random_state=1),
        RandomForestRegressor(n_estimators=10, max_depth=5, random_state=1),
    ],
)
def test_shares_of_a_forest_are_those_found_by_asking_every_mixture(estimator) -> None:
    fitted = estimator.fit(X, Y)
    task = "regression" if isinstance(estimator, RandomForestRegressor) else "binary"
    forest = forest_of(fitted, task, () if task == "regression" else (0, 1))
    held = paths(forest)
    assert held is not None
    rows, background = X[:4], X[10:14]
    shares = forest_shares(held, rows, background)
    margin = fitted.predict if task == "regression" else fitted.decision_function
    for place in range(4):
        expected = enumerated(mixtures(margin, rows[place], background), 5, 4)
        np.testing.assert_allclose(shares[place].mean(axis=0), expected, atol=1e-9)


def test_shares_of_a_forest_agree_with_shap() -> None:
    shap = pytest.importorskip("shap")
    fitted = GradientBoostingClassifier(n_estimators=15, random_state=2).fit(X, Y)
    held = paths(forest_of(fitted, "binary", (0, 1)))
    assert held is not None
    expected = shap.TreeExplainer(fitted, X[:20], feature_perturbation="interventional").shap_values(X[30:34])
    np.testing.assert_allclose(forest_shares(held, X[30:34], X[:20]).mean(axis=1), expected, atol=1e-6)


def test_missing_values_take_the_way_they_were_taught() -> None:
    holed = X.copy()
    holed[RNG.random(holed.shape) < 0.2] = np.nan
    fitted = HistGradientBoostingClassifier(max_iter=15, random_state=1).fit(holed, Y)
    forest = forest_of(fitted, "binary", (0, 1))
    held = paths(forest)
    assert held is not None
    shares = forest_shares(held, holed[:5], holed[20:26])
    gone = fitted.decision_function(holed[:5])[:, None] - fitted.decision_function(holed[20:26])[None]
    np.testing.assert_allclose(shares.sum(axis=2), gone, atol=1e-9)


def test_on_scores_contributions_add_up_to_the_score_less_the_mean_of_the_background() -> None:
    fitted = HistGradientBoostingClassifier(max_iter=20, random_state=1).fit(X, Y)
    forest = forest_of(fitted, "binary", (0, 1))
    held, score = paths(forest), scorer(forest)
    assert held is not None
    found = on_scores(forest_shares(held, X[:6], X[50:70]), score(X[:6]), score(np.ascontiguousarray(X[50:70])))
    expected = fitted.predict_proba(X[:6])[:, 1] - fitted.predict_proba(X[50:70])[:, 1].mean()
    np.testing.assert_allclose(found.sum(axis=1), expected, atol=1e-9)


def test_an_affine_map_is_shared_by_weight_times_difference() -> None:
    model = Affine(weights=np.array([[2.0, -1.0]]), base=np.array([5.0]))
    found = affine_shares(model, np.array([[1.0, 3.0]]), np.array([[0.0, 1.0], [2.0, 3.0]]))
    assert found.tolist() == [[[2.0, -2.0], [-2.0, 0.0]]]


def test_sampled_orders_add_up_exactly_and_come_near_the_exact_values() -> None:
    def score(rows):
        return rows[:, 0] * rows[:, 1] + 2 * rows[:, 2]

    row, background = np.array([1.0, 2.0, 3.0, 4.0]), np.zeros((5, 4))
    found = sampled(mixtures(score, row, background), 4, 5, orders=64)
    assert found.sum() == pytest.approx(8.0)
    np.testing.assert_allclose(found, [1.0, 1.0, 6.0, 0.0], atol=0.2)
    np.testing.assert_allclose(enumerated(mixtures(score, row, background), 4, 5), [1.0, 1.0, 6.0, 0.0], atol=1e-12)
