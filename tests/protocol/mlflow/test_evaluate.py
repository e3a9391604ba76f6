"""``mlflow.models.evaluate`` of a classifier and a regressor: its numbers, curves and tables arrive at ``rung up``."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, mean_squared_error, r2_score, roc_auc_score

from rung.client.client import Client

RNG = np.random.default_rng(5)
ROWS = pd.DataFrame({"hour": RNG.normal(size=120), "wind": RNG.normal(size=120)})
LATE = (ROWS["hour"] + RNG.normal(scale=0.5, size=120) > 0).astype(int)
MINUTES = ROWS["wind"] * 3 + RNG.normal(scale=0.1, size=120)


def test_a_classifier_that_is_loaded_from_here(study: str, mlflow_client: MlflowClient, rung_client: Client, tmp_path: Path) -> None:
    model = LogisticRegression().fit(ROWS, LATE)
    with mlflow.start_run() as active:
        logged = mlflow.sklearn.log_model(model, name="model", input_example=ROWS.head(2), pip_requirements=[])
        evaluated = mlflow.models.evaluate(logged.model_uri, ROWS.assign(late=LATE), targets="late", model_type="classifier")
    run = mlflow_client.get_run(active.info.run_id)
    assert run.data.metrics["accuracy_score"] == pytest.approx(accuracy_score(LATE, model.predict(ROWS)))
    assert run.data.metrics["roc_auc"] == pytest.approx(roc_auc_score(LATE, model.predict_proba(ROWS)[:, 1]))
    assert run.data.metrics == pytest.approx(evaluated.metrics)
    paths = {item.path for item in mlflow_client.list_artifacts(run.info.run_id)}
    assert {"confusion_matrix.png", "roc_curve_plot.png"} <= paths
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.digest
    # The numbers stand at the logged model too, with the data they were measured on.
    assert {metric.key for metric in mlflow_client.get_logged_model(logged.model_id).metrics} >= {"accuracy_score", "roc_auc"}
    assert rung_client.tracking.get(run.info.run_id).metrics["roc_auc"] == run.data.metrics["roc_auc"]


def test_a_regressor_given_as_its_predictions(study: str, mlflow_client: MlflowClient) -> None:
    model = LinearRegression().fit(ROWS, MINUTES)
    rows = ROWS.assign(minutes=MINUTES, told=model.predict(ROWS))
    with mlflow.start_run() as active:
        mlflow.models.evaluate(data=rows, targets="minutes", predictions="told", model_type="regressor")
    held = mlflow_client.get_run(active.info.run_id).data.metrics
    assert held["mean_squared_error"] == pytest.approx(mean_squared_error(MINUTES, rows["told"]))
    assert held["r2_score"] == pytest.approx(r2_score(MINUTES, rows["told"]))


def test_a_measure_and_a_table_of_ones_own(study: str, mlflow_client: MlflowClient, tmp_path: Path) -> None:
    def in_time(predictions: pd.Series, targets: pd.Series) -> float:
        return float((np.abs(predictions - targets) < 1).mean())

    def write_errors(eval_df: pd.DataFrame, builtin_metrics: dict[str, float], artifacts_dir: str) -> dict[str, dict[str, float]]:
        return {"errors": {"largest": float((eval_df["prediction"] - eval_df["target"]).abs().max())}}

    model = LinearRegression().fit(ROWS, MINUTES)
    rows = ROWS.assign(minutes=MINUTES, told=model.predict(ROWS))
    with mlflow.start_run() as active:
        mlflow.models.evaluate(
            data=rows, targets="minutes", predictions="told", model_type="regressor",
            extra_metrics=[mlflow.models.make_metric(eval_fn=in_time, greater_is_better=True, name="in_time")], custom_artifacts=[write_errors],
        )  # fmt: skip
    run = active.info.run_id
    assert mlflow_client.get_run(run).data.metrics["in_time"] == 1.0
    path = mlflow_client.download_artifacts(run, "errors.json", str(tmp_path))
    assert json.loads(Path(path).read_text())["largest"] == pytest.approx(float((rows["told"] - rows["minutes"]).abs().max()))


def test_a_threshold_that_is_not_met_is_told(study: str) -> None:
    from mlflow.models import MetricThreshold

    rows = ROWS.assign(minutes=MINUTES, told=0.0)
    with mlflow.start_run():
        evaluated = mlflow.models.evaluate(data=rows, targets="minutes", predictions="told", model_type="regressor")
    with pytest.raises(mlflow.models.evaluation.validation.ModelValidationFailedException):
        mlflow.validate_evaluation_results(
            candidate_result=evaluated, validation_thresholds={"r2_score": MetricThreshold(threshold=0.5, greater_is_better=True)}
        )  # fmt: skip
