"""``rung.autolog()`` with scikit-learn itself."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import rung
from rung.client.autolog import guard
from rung.client.autolog.guard import STRICT
from rung.client.client import Client
from rung.core.errors import Invalid
from tests.autologging import files, only_run, platform, runs

__all__ = ["platform"]
X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X = (X - X.mean()) / X.std()  # so that a regression converges and warns of nothing
X_train, X_test, y_train, y_test = train_test_split(X.iloc[:, :5], y, random_state=0)


def test_a_fit_opens_a_run_and_closes_it(platform: Client) -> None:
    rung.autolog()
    estimator = LogisticRegression(C=0.5).fit(X_train, y_train)
    run = only_run(platform)
    assert (run.name, run.status) == ("LogisticRegression", "succeeded")
    assert run.params["C"] == 0.5
    assert run.metrics["training_accuracy"] == pytest.approx(metrics.accuracy_score(y_train, estimator.predict(X_train)))
    assert run.metrics["training_roc_auc"] == pytest.approx(metrics.roc_auc_score(y_train, estimator.predict_proba(X_train)[:, 1]))
    assert run.metrics["training_f1"] == pytest.approx(metrics.f1_score(y_train, estimator.predict(X_train)))
    assert {"estimator.html", "training/confusion_matrix.svg", "training/roc_curve.svg", "feature_importance.parquet"} <= files(
        platform, run
    )
    (data,) = run.inputs
    assert data.name == "X_train"
    assert '"rows":426' in data.source
    assert '"mean radius"' in data.schema
    assert rung.active_run() is None


def test_a_fit_logs_to_the_run_that_is_open_and_leaves_it_open(platform: Client) -> None:
    rung.autolog()
    with rung.start_run("mine", "by hand") as mine:
        LogisticRegression().fit(X_train, y_train)
        rung.log_metric("own", 1.0)
    run = only_run(platform)
    assert run.id == mine.id
    assert {"own", "training_accuracy"} <= set(run.metrics)


def test_the_model_answers_like_the_one_that_was_fitted(platform: Client) -> None:
    rung.autolog()
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(X_train, y_train)
    run = only_run(platform)
    (link,) = run.models
    owner = f"m-{link.model}"
    held = {item.path for item in platform.tracking.artifacts(owner)}
    assert held == {"model.skops", "rung.json", "example.parquet"}
    from rung.registry.formats.skops import read_estimator

    loaded = read_estimator(platform.tracking.read_artifact(owner, "model.skops"))
    assert np.allclose(loaded.predict_proba(X_test), estimator.predict_proba(X_test))


def test_without_input_examples_no_row_is_stored(platform: Client) -> None:
    rung.autolog(input_examples=False)
    LogisticRegression().fit(X_train, y_train)
    (link,) = only_run(platform).models
    assert {item.path for item in platform.tracking.artifacts(f"m-{link.model}")} == {"model.skops", "rung.json"}


def test_what_is_not_asked_for_is_not_logged(platform: Client) -> None:
    rung.autolog(models=False, datasets=False, sample_rows=0)
    LogisticRegression().fit(X_train, y_train)
    run = only_run(platform)
    assert (run.models, run.inputs) == ((), ())
    assert not [name for name in run.metrics if name.startswith("training_")]


def test_only_the_outermost_fit_is_logged(platform: Client) -> None:
    rung.autolog()
    VotingClassifier([("a", LogisticRegression()), ("b", RandomForestClassifier(5))], voting="soft").fit(X_train, y_train)
    cross_val_score(LogisticRegression(), X_train, y_train, cv=2)
    StandardScaler().fit(X_train)
    assert only_run(platform).name == "VotingClassifier"


def test_fits_in_threads_of_a_search_are_nested_in_it(platform: Client) -> None:
    from joblib import parallel_config

    rung.autolog(max_children=0)
    with parallel_config(backend="threading", n_jobs=2):
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(X_train, y_train)
    assert only_run(platform).name == "GridSearchCV"


def test_a_search_has_its_best_candidates_as_children(platform: Client) -> None:
    rung.autolog(max_children=2)
    search = GridSearchCV(LogisticRegression(), {"C": [0.001, 0.1, 10.0]}, cv=3).fit(X_train, y_train)
    parent, *children = runs(platform)
    assert parent.params["best_C"] == search.best_params_["C"]
    assert parent.metrics["best_cv_score"] == pytest.approx(search.best_score_)
    assert [child.parent for child in children] == [parent.id, parent.id]
    best = next(child for child in children if child.metrics["rank_test_score"] == 1)
    assert best.params == {"C": search.best_params_["C"]}
    assert best.metrics["mean_test_score"] == pytest.approx(search.best_score_)
    table = pl.read_parquet(platform.tracking.read_artifact(parent.id, "cv_results.parquet"))
    assert table.height == 3


def test_a_random_search_over_distributions_is_logged(platform: Client) -> None:
    from scipy.stats import loguniform

    rung.autolog()
    RandomizedSearchCV(Ridge(), {"alpha": loguniform(0.1, 10)}, n_iter=3, cv=2, random_state=0).fit(X_train, y_train)
    parent, *children = runs(platform)
    assert len(children) == 3
    assert len(parent.models) == 1


def test_a_score_after_the_fit_goes_to_its_run(platform: Client) -> None:
    rung.autolog()
    estimator = LogisticRegression().fit(X_train, y_train)
    accuracy = estimator.score(X_test, y_test)
    area = metrics.roc_auc_score(y_test, estimator.predict_proba(X_test)[:, 1])
    run = only_run(platform)
    assert run.metrics["test_accuracy"] == accuracy
    assert run.metrics["test_roc_auc"] == area


def test_two_models_are_measured_in_their_own_runs(platform: Client) -> None:
    rung.autolog()
    first = LogisticRegression(C=1e-6).fit(X_train, y_train)
    second = LogisticRegression().fit(X_train, y_train)
    for estimator in (first, second):
        y_pred = estimator.predict(X_test)
        metrics.f1_score(y_test, y_pred)
    held = [run.metrics["test_f1"] for run in runs(platform)]
    assert held == [metrics.f1_score(y_test, first.predict(X_test)), metrics.f1_score(y_test, second.predict(X_test))]


def test_a_second_fit_in_a_run_gets_names_of_its_own(platform: Client) -> None:
    rung.autolog()
    with rung.start_run("mine"):
        for c in (0.1, 1.0):
            LogisticRegression(C=c).fit(X_train, y_train)
    run = only_run(platform)
    assert (run.params["C"], run.params["LogisticRegression_2.C"]) == (0.1, 1.0)
    assert "LogisticRegression_2.training_accuracy" in run.metrics
    assert "LogisticRegression_2/estimator.html" in files(platform, run)


def test_a_param_of_the_user_stays_his(platform: Client) -> None:
    rung.autolog()
    with rung.start_run("mine", params={"C": "mine"}):
        LogisticRegression(C=0.3).fit(X_train, y_train)
    run = only_run(platform)
    assert (run.params["C"], run.params["LogisticRegression_1.C"]) == ("mine", 0.3)


def test_a_regressor_has_its_errors_logged(platform: Client) -> None:
    rung.autolog()
    table, target = load_diabetes(return_X_y=True)
    estimator = LinearRegression().fit(table, target)
    run = only_run(platform)
    answer = estimator.predict(table)
    assert run.metrics["training_mae"] == pytest.approx(np.abs(answer - target).mean())
    assert run.metrics["training_rmse"] == pytest.approx(np.sqrt(((answer - target) ** 2).mean()))
    assert run.metrics["training_r2"] == pytest.approx(estimator.score(table, target))


def test_three_classes_are_judged_by_weighted_means(platform: Client) -> None:
    rung.autolog()
    table, target = load_iris(return_X_y=True)
    estimator = RandomForestClassifier(5, random_state=0).fit(table, target)
    run = only_run(platform)
    answer = estimator.predict(table)
    assert run.metrics["training_precision"] == pytest.approx(metrics.precision_score(target, answer, average="weighted"))
    assert "training_roc_auc" in run.metrics


def test_a_failed_fit_fails_its_run_and_raises_what_it_raised(platform: Client) -> None:
    rung.autolog()
    with pytest.raises(ValueError, match="inconsistent numbers"):
        LogisticRegression().fit(X_train, y_train[:-1])
    run = only_run(platform)
    assert run.status == "failed"
    assert "inconsistent numbers" in run.error


def test_texts_sparse_and_arrays_and_frames_are_taken(platform: Client) -> None:
    rung.autolog()
    texts = ["good day", "bad day", "good", "bad"] * 5
    make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0] * 5)
    LogisticRegression().fit(CountVectorizer().fit_transform(texts), [1, 0, 1, 0] * 5)
    LogisticRegression().fit(X_train.to_numpy(), y_train.to_numpy())
    LogisticRegression().fit(pl.from_pandas(X_train), pl.Series(y_train.to_numpy()))
    assert [len(run.models) for run in runs(platform)] == [1, 1, 1, 1]
    assert all("training_accuracy" in run.metrics for run in runs(platform))


def test_data_that_can_be_read_once_is_left_to_the_fit(platform: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    rung.autolog()
    texts = (text for text in ["good day", "bad day"] * 5)
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [1, 0] * 5)
    assert pipeline.predict(["good day"]).tolist() == [1]
    assert only_run(platform).inputs == ()


def test_an_estimator_that_no_format_writes_is_trained_and_told_of_once(
    platform: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(STRICT)
    guard._told.clear()
    rung.autolog()
    for _ in range(2):
        KMeans(2, n_init=1, random_state=0).fit(X_train)
    assert [run.status for run in runs(platform)] == ["succeeded", "succeeded"]
    assert "inertia" in runs(platform)[0].metrics
    told = [record.message for record in caplog.records if record.name == "rung.autolog"]
    assert len(told) == 1
    assert "the KMeans is no logged model" in told[0]
    assert "model/model.skops" in files(platform, runs(platform)[0])


def test_a_platform_that_fails_changes_no_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from rung.client import current

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNG_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("RUNG_TOKEN", "nobody")
    guard._told.clear()
    np.random.seed(3)
    plain = RandomForestClassifier(3).fit(X_train, y_train).predict_proba(X_test)
    rung.autolog()
    try:
        np.random.seed(3)
        watched = RandomForestClassifier(3).fit(X_train, y_train).predict_proba(X_test)
    finally:
        rung.autolog(disable=True)
        current._clients.pop((str(tmp_path), ""), None)
    assert np.array_equal(plain, watched)
    assert any("a run could not be logged to" in record.message for record in caplog.records)


def test_logging_leaves_the_random_numbers_as_they_were(platform: Client) -> None:
    def draws() -> list[float]:
        np.random.seed(1)
        RandomForestClassifier(3).fit(X_train, y_train).score(X_test, y_test)
        return np.random.rand(3).tolist()

    plain = draws()
    rung.autolog()
    assert draws() == plain


def test_disabling_puts_everything_back(platform: Client) -> None:
    import sklearn.base
    import sklearn.metrics
    import sklearn.model_selection

    def state() -> dict[str, object]:
        classes = [LogisticRegression, Pipeline, GridSearchCV, RandomForestClassifier, ClassifierMixin, sklearn.base.BaseEstimator]
        held = {f"{cls.__name__}.{name}": vars(cls).get(name) for cls in classes for name in (*vars(cls), "__init_subclass__")}
        held |= {name: vars(sklearn.metrics)[name] for name in vars(sklearn.metrics)}
        return held | {name: vars(sklearn.model_selection)[name] for name in vars(sklearn.model_selection)}

    before, finders = state(), list(sys.meta_path)
    rung.autolog()
    LogisticRegression().fit(X_train, y_train).score(X_test, y_test)
    changed = state()
    assert [key for key in before if before[key] is not changed.get(key)]
    rung.autolog(disable=True)
    after = state()
    assert after.keys() == before.keys()
    assert [key for key in before if before[key] is not after[key]] == []
    assert sys.meta_path == finders
    LogisticRegression().fit(X_train, y_train)
    assert len(runs(platform)) == 1


def test_one_library_alone_is_watched(platform: Client) -> None:
    rung.autolog([])
    LogisticRegression().fit(X_train, y_train)
    assert runs(platform) == []
    rung.autolog("scikit-learn")
    LogisticRegression().fit(X_train, y_train)
    assert len(runs(platform)) == 1
    with pytest.raises(Invalid, match="no library"):
        rung.autolog("keras")


class Majority(ClassifierMixin, BaseEstimator):
    """A user's own estimator, defined before autolog."""

    def fit(self, X, y):  # noqa: N803
        values, counts = np.unique(y, return_counts=True)
        self.classes_, self.most_ = values, values[counts.argmax()]
        return self

    def predict(self, X):  # noqa: N803
        return np.full(len(X), self.most_)


def test_own_estimators_are_watched_wherever_they_are_defined(platform: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STRICT)
    rung.autolog()

    class Later(Majority):
        def fit(self, X, y):  # noqa: N803
            return super().fit(X, y)

    Majority().fit(X_train, y_train)
    Later().fit(X_train, y_train)
    assert [run.name for run in runs(platform)] == ["Majority", "Later"]


def test_estimators_and_metrics_can_still_be_pickled_and_cloned(platform: Client) -> None:
    import cloudpickle

    rung.autolog(models=False)
    estimator = LogisticRegression().fit(X_train, y_train)
    assert np.array_equal(pickle.loads(pickle.dumps(estimator)).coef_, estimator.coef_)
    assert clone(estimator).C == estimator.C
    assert pickle.loads(pickle.dumps(metrics.accuracy_score))([1, 0], [1, 1]) == 0.5

    class Local(Majority):
        def fit(self, X, y):  # noqa: N803
            return super().fit(X, y)

    assert cloudpickle.loads(cloudpickle.dumps(Local().fit(X_train, y_train))).most_ == 1


def test_processes_of_a_search_take_own_estimators_along(platform: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STRICT)
    rung.autolog(max_children=0, models=False)

    class Local(Majority):
        def __init__(self, c=1):
            self.c = c

        def fit(self, X, y):  # noqa: N803
            return super().fit(X, y)

    search = GridSearchCV(Local(), {"c": [1, 2]}, cv=2, n_jobs=2, scoring=metrics.make_scorer(metrics.accuracy_score))
    search.fit(X_train.to_numpy(), y_train.to_numpy())
    assert only_run(platform).metrics["candidates"] == 2


def test_threads_log_to_runs_of_their_own(platform: Client) -> None:
    rung.autolog()
    problems: list[BaseException] = []

    def train(c: float) -> None:
        try:
            LogisticRegression(C=c).fit(X_train, y_train)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=train, args=(0.1 * n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len({run.params["C"] for run in runs(platform)}) == 4


def test_metadata_routing_still_works(platform: Client) -> None:
    import sklearn

    rung.autolog(models=False)  # skops writes no estimator with such a request
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            LogisticRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True), {"C": [1.0]}, cv=2
        )
        search.fit(X_train, y_train, sample_weight=np.ones(len(X_train)))
    assert runs(platform)[0].status == "succeeded"


def test_autolog_imports_no_library_and_watches_what_comes_later(tmp_path: Path) -> None:
    script = """
import sys
import rung
rung.autolog()
assert not {"sklearn", "lightgbm", "xgboost", "torch"} & set(sys.modules), sorted({"sklearn", "lightgbm"} & set(sys.modules))
from sklearn.linear_model import LogisticRegression
import sklearn
assert sklearn.__spec__.loader.__class__.__name__ == "SourceFileLoader"
LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
print(rung.search_runs()["name"].to_list())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PATH": "", "RUNG_HOME": str(tmp_path / "home"), STRICT: "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['LogisticRegression']"
