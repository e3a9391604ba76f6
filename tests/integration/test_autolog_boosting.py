"""``rung.autolog()`` with LightGBM and XGBoost themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rung
from rung.client.client import Client
from tests.autologging import files, only_run, platform, runs

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")

# the older spelling, which scripts still use
pytestmark = pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
__all__ = ["platform"]
X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X = X.iloc[:, :6].rename(columns=lambda name: name.replace(" ", "_"))
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
LGB = {
    "objective": "binary",
    "metric": ["auc", "binary_logloss"],
    "verbosity": -1,
    "num_leaves": 4,
    "num_threads": 1,
    "deterministic": True,
}
XGB = {"objective": "binary:logistic", "eval_metric": ["auc", "logloss"], "max_depth": 2, "nthread": 1}


def curve(platform: Client, run: Any, key: str) -> list[float]:
    return [point.value for point in platform.tracking.history(run.id, key).points]


def lgb_sets() -> tuple[Any, Any]:
    train_set = lightgbm.Dataset(X_train, y_train)
    return train_set, lightgbm.Dataset(X_test, y_test, reference=train_set)


def xgb_sets() -> tuple[Any, Any]:
    return xgboost.DMatrix(X_train, y_train), xgboost.DMatrix(X_test, y_test)


def test_lightgbm_logs_a_curve_for_each_set_and_metric(platform: Client) -> None:
    rung.autolog()
    train_set, valid_set = lgb_sets()
    held: dict[str, Any] = {}
    booster = lightgbm.train(LGB, train_set, 20, [valid_set], ["held_out"], callbacks=[lightgbm.record_evaluation(held)])
    run = only_run(platform)
    assert (run.name, run.status) == ("lightgbm", "succeeded")
    assert curve(platform, run, "held_out/auc") == pytest.approx(held["held_out"]["auc"])
    assert curve(platform, run, "held_out/binary_logloss") == pytest.approx(held["held_out"]["binary_logloss"])
    assert (run.params["num_boost_round"], run.params["num_leaves"]) == (20, 4)
    assert {"feature_importance_gain.parquet", "feature_importance_split.svg"} <= files(platform, run)
    assert run.inputs[0].name == "train_set"
    assert '"rows":426' in run.inputs[0].source
    (link,) = run.models
    text = platform.tracking.read_artifact(f"m-{link.model}", "model.txt").decode()
    assert np.allclose(lightgbm.Booster(model_str=text).predict(X_test), booster.predict(X_test))


def test_lightgbm_stopped_early_says_where_it_was_best(platform: Client) -> None:
    rung.autolog()
    train_set, valid_set = lgb_sets()
    stop = lightgbm.early_stopping(3, first_metric_only=True, verbose=False)
    booster = lightgbm.train({**LGB, "learning_rate": 0.5}, train_set, 200, [valid_set], callbacks=[stop])
    run = only_run(platform)
    assert run.params["early_stopping_rounds"] == 3
    assert run.metrics["best_iteration"] == booster.best_iteration
    assert run.metrics["best_valid_0/auc"] == pytest.approx(booster.best_score["valid_0"]["auc"])
    assert len(curve(platform, run, "valid_0/auc")) == booster.best_iteration + 3


def test_lightgbm_estimators_log_params_curves_metrics_and_later_scores(platform: Client) -> None:
    rung.autolog()
    estimator = lightgbm.LGBMClassifier(n_estimators=10, num_leaves=4, n_jobs=1, verbosity=-1)
    estimator.fit(X_train, y_train, eval_set=[(X_test, y_test)], eval_metric="auc")
    accuracy = estimator.score(X_test, y_test)
    run = only_run(platform)
    assert run.name == "LGBMClassifier"
    assert run.params["num_leaves"] == 4
    assert curve(platform, run, "valid_0/auc") == pytest.approx(estimator.evals_result_["valid_0"]["auc"])
    assert run.metrics["test_accuracy"] == accuracy
    assert "training_roc_auc" in run.metrics
    assert len(run.models) == 1


def test_fewer_points_where_asked_and_always_the_last(platform: Client) -> None:
    rung.autolog(every_n_steps=4)
    train_set, valid_set = lgb_sets()
    lightgbm.train(LGB, train_set, 10, [valid_set])
    dtrain, dtest = xgb_sets()
    xgboost.train(XGB, dtrain, 10, evals=[(dtest, "test")], verbose_eval=False)
    for run, key in zip(runs(platform), ("valid_0/auc", "test/auc"), strict=True):
        assert [point.step for point in platform.tracking.history(run.id, key).points] == [0, 4, 8, 9]


def test_training_is_the_same_with_and_without(platform: Client) -> None:
    def trained() -> tuple[str, bytes]:
        train_set, valid_set = lgb_sets()
        booster = lightgbm.train({**LGB, "bagging_fraction": 0.5, "bagging_freq": 1}, train_set, 10, [valid_set])
        dtrain, dtest = xgb_sets()
        other = xgboost.train({**XGB, "subsample": 0.5}, dtrain, 10, evals=[(dtest, "test")], verbose_eval=False)
        return booster.model_to_string(), bytes(other.save_raw("json"))

    plain = trained()
    rung.autolog()
    assert trained() == plain


def test_the_users_list_of_callbacks_stays_as_it_was(platform: Client) -> None:
    rung.autolog()
    train_set, valid_set = lgb_sets()
    callbacks = [lightgbm.log_evaluation(0)]
    lightgbm.train(LGB, train_set, 3, [valid_set], callbacks=callbacks)
    assert len(callbacks) == 1


def test_cross_validations_log_means_and_deviations(platform: Client) -> None:
    rung.autolog()
    found = lightgbm.cv(LGB, lightgbm.Dataset(X_train, y_train), 5, nfold=3)
    other = xgboost.cv(XGB, xgboost.DMatrix(X_train, y_train), 5, nfold=3)
    first, second = runs(platform)
    assert curve(platform, first, "valid/auc-mean") == pytest.approx(found["valid auc-mean"])
    assert first.params["nfold"] == 3
    assert curve(platform, second, "test-auc-mean") == pytest.approx(other["test-auc-mean"].tolist())


def test_xgboost_logs_a_curve_for_each_set_and_metric(platform: Client) -> None:
    rung.autolog()
    dtrain, dtest = xgb_sets()
    held: dict[str, Any] = {}
    booster = xgboost.train(XGB, dtrain, 15, evals=[(dtrain, "train"), (dtest, "test")], evals_result=held, verbose_eval=False)
    run = only_run(platform)
    assert curve(platform, run, "test/auc") == pytest.approx(held["test"]["auc"])
    assert curve(platform, run, "train/logloss") == pytest.approx(held["train"]["logloss"])
    assert run.params["max_depth"] == 2
    assert {"feature_importance_gain.svg", "feature_importance_split.parquet"} <= files(platform, run)
    assert '"rows":426' in run.inputs[0].source
    (link,) = run.models
    held_files = platform.tracking.artifacts(f"m-{link.model}")
    model = next(item.path for item in held_files if item.path.startswith("model"))
    loaded = xgboost.Booster()
    loaded.load_model(bytearray(platform.tracking.read_artifact(f"m-{link.model}", model)))
    assert np.allclose(loaded.predict(dtest), booster.predict(dtest))


def test_xgboost_stopped_early_says_where_it_was_best(platform: Client) -> None:
    rung.autolog()
    dtrain, dtest = xgb_sets()
    booster = xgboost.train({**XGB, "eta": 1.0}, dtrain, 200, evals=[(dtest, "test")], early_stopping_rounds=3, verbose_eval=False)
    run = only_run(platform)
    assert run.metrics["best_iteration"] == booster.best_iteration
    assert run.metrics["best_score"] == pytest.approx(booster.best_score)
    assert len(curve(platform, run, "test/logloss")) == booster.num_boosted_rounds()


def test_xgboost_estimators_log_params_curves_and_metrics(platform: Client) -> None:
    rung.autolog()
    table, target = load_iris(return_X_y=True)
    estimator = xgboost.XGBClassifier(n_estimators=8, max_depth=2, n_jobs=1)
    estimator.fit(table, target, eval_set=[(table, target)], verbose=False)
    run = only_run(platform)
    assert run.name == "XGBClassifier"
    assert run.params["max_depth"] == 2
    assert curve(platform, run, "validation_0/mlogloss") == pytest.approx(estimator.evals_result()["validation_0"]["mlogloss"])
    assert "training_roc_auc" in run.metrics
    assert len(run.models) == 1


def test_a_booster_that_ends_a_pipeline_has_its_curves(platform: Client) -> None:
    rung.autolog()
    table = X_train.to_numpy()
    pipeline = make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(n_estimators=5, verbosity=-1, n_jobs=1))
    pipeline.fit(table, y_train, lgbmclassifier__eval_set=[(table, y_train)])
    run = only_run(platform)
    assert run.name == "Pipeline"
    (key,) = [name for name in run.metrics if name.endswith("/binary_logloss")]
    assert len(curve(platform, run, key)) == 5


def test_boosters_of_a_search_are_nested_in_it(platform: Client) -> None:
    rung.autolog(max_children=1)
    search = GridSearchCV(lightgbm.LGBMClassifier(n_estimators=3, verbosity=-1, n_jobs=1), {"num_leaves": [2, 4]}, cv=2)
    search.fit(X_train, y_train)
    assert [run.name for run in runs(platform)] == ["GridSearchCV", f"num_leaves={search.best_params_['num_leaves']}"]


def test_without_its_library_an_estimator_is_not_logged(platform: Client) -> None:
    rung.autolog("sklearn")
    lightgbm.LGBMClassifier(n_estimators=2, verbosity=-1).fit(X_train, y_train)
    assert runs(platform) == []


def test_disabling_puts_the_functions_back(platform: Client) -> None:
    def state() -> list[object]:
        found = [lightgbm.train, lightgbm.engine.train, lightgbm.sklearn.train, lightgbm.cv, vars(lightgbm.LGBMClassifier)["fit"]]
        return [*found, xgboost.train, xgboost.training.train, xgboost.sklearn.train, xgboost.cv, vars(xgboost.XGBClassifier)["fit"]]

    before = state()
    rung.autolog()
    assert all(new is not old for new, old in zip(state(), before, strict=True))
    rung.autolog(disable=True)
    assert all(new is old for new, old in zip(state(), before, strict=True))


def test_a_failed_training_fails_its_run(platform: Client) -> None:
    rung.autolog()
    with pytest.raises(lightgbm.basic.LightGBMError):
        lightgbm.train({"objective": "nonsense"}, lgb_sets()[0], 2)
    assert only_run(platform).status == "failed"
