"""Every estimator of scikit-learn, logged by MLflow's own client in its default format: which are served, which are not, and why.

By itself the client refuses to write sixty of them, all with trees among them, until it is told which types to trust;
then the list of trusted types is ours here, not the file's.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest
from mlflow.exceptions import MlflowException
from sklearn.base import is_classifier, is_regressor
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators
from skops.io import dumps, get_untrusted_types

from rung.registry.trusted import TRUSTED
from tests.conformance.test_trusted import UNWRITABLE, X, fitted
from tests.protocol.mlflow.test_folders import SOME, Folder

pytestmark = pytest.mark.filterwarnings("ignore")
COMMON = {
    "LogisticRegression", "RandomForestClassifier", "HistGradientBoostingRegressor", "GradientBoostingClassifier", "KNeighborsClassifier",
    "MLPRegressor", "CalibratedClassifierCV", "LinearSVC", "KMeans",
}  # fmt: skip
NO_MATRIX = {"IsotonicRegression"}  # takes one column, and does not say so


def swept() -> list[Any]:
    return [
        pytest.param(name, kind, marks=[] if name in COMMON else pytest.mark.slow, id=name)
        for name, kind in all_estimators()
        if name != "TSNE"
    ]


def saved(estimator: Any, path: Path) -> Folder:
    strangers = get_untrusted_types(data=dumps(estimator))
    assert set(strangers) <= TRUSTED
    mlflow.sklearn.save_model(estimator, path, skops_trusted_types=strangers or None, **SOME)
    return Folder(path)


def test_by_itself_the_client_writes_no_trees(tmp_path: Path) -> None:
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    with pytest.raises(MlflowException, match="untrusted types"):
        mlflow.sklearn.save_model(fitted("DecisionTreeClassifier", DecisionTreeClassifier), tmp_path / "model", **SOME)


@pytest.mark.parametrize(("name", "kind"), swept())
def test_what_the_client_logs_is_served_as_the_library_answers_or_says_why_not(name: str, kind: Any, tmp_path: Path) -> None:
    estimator = fitted(name, kind)
    if name in UNWRITABLE:
        with pytest.raises(MlflowException, match="could not be serialized"):
            mlflow.sklearn.save_model(estimator, tmp_path / "model", **SOME)
        return
    folder = saved(estimator, tmp_path / "model")
    told = folder.read_as.unservable
    assert "not trusted" not in told
    if not is_regressor(estimator) and not is_classifier(estimator):
        assert told.startswith(f"A {name} predicts neither classes nor values.")
        return
    if name in NO_MATRIX:
        assert "log it with a signature" in told
        return
    expected = np.asarray(estimator.predict(X), dtype=np.float64) if is_regressor(estimator) else probabilities(estimator)
    if expected is None or expected.ndim > 2 or (is_regressor(estimator) and expected.ndim > 1):
        assert "probabilities" in told or "at once" in told
        return
    scores = folder.predictor().predict_scores(pl.DataFrame(X, schema=["f0", "f1", "f2", "f3"]))
    assert np.allclose(scores, expected[:, 1] if is_classifier(estimator) else expected, rtol=1e-12, atol=1e-12)


def probabilities(estimator: Any) -> np.ndarray | None:
    return (
        np.asarray(estimator.predict_proba(X)) if hasattr(estimator, "predict_proba") and not isinstance(estimator.classes_, list) else None
    )
