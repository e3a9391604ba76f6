"""A training script that knows only MLflow: autolog, log_model, load by alias; seen from our side as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split

from rung.client.client import Client

RNG = np.random.default_rng(9)
ROWS = pd.DataFrame({"hour": RNG.normal(size=200), "wind": RNG.normal(size=200)})
LATE = (ROWS["hour"] + ROWS["wind"] + RNG.normal(scale=0.3, size=200) > 0).astype(int)
TRAIN, TEST, LATE_TRAIN, LATE_TEST = train_test_split(ROWS, LATE, random_state=0)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Autologging ends with the test that turned it on, and so do its options."""
    yield
    for library in (mlflow.sklearn, mlflow.lightgbm, mlflow.xgboost, mlflow.pytorch):
        library.autolog(disable=True)


def the_run(client: MlflowClient, study: str, where: str = "") -> Run:
    experiment = client.get_experiment_by_name(study)
    (found,) = client.search_runs([experiment.experiment_id], where)
    return found


def register(client: MlflowClient, name: str, run: Run) -> str:
    """Make the run's logged model version 1 of a model, with the alias champion; its URI."""
    (output,) = run.outputs.model_outputs
    version = mlflow.register_model(f"models:/{output.model_id}", name)
    client.set_registered_model_alias(name, "champion", version.version)
    return f"models:/{name}@champion"


def test_scikit_learn(study: str, mlflow_client: MlflowClient, rung_client: Client, fresh: Callable[[str], str]) -> None:
    mlflow.sklearn.autolog(silent=True)
    model = LogisticRegression(C=0.5).fit(TRAIN, LATE_TRAIN)
    held = TEST  # the metric is named after it
    model.score(held, LATE_TEST)
    run = the_run(mlflow_client, study)
    assert (run.info.status, run.data.params["C"], run.data.tags["estimator_name"]) == ("FINISHED", "0.5", "LogisticRegression")
    assert run.data.metrics["training_accuracy_score"] == pytest.approx(model.score(TRAIN, LATE_TRAIN))
    assert run.data.metrics["LogisticRegression_score_held"] == pytest.approx(model.score(TEST, LATE_TEST))
    assert {"training_confusion_matrix.png", "estimator.html"} <= {item.path for item in mlflow_client.list_artifacts(run.info.run_id)}
    assert {item.dataset.name for item in run.inputs.dataset_inputs} == {"dataset"}
    name = fresh("late")
    loaded = mlflow.pyfunc.load_model(register(mlflow_client, name, run))
    assert np.array_equal(loaded.predict(TEST), model.predict(TEST))
    ours = rung_client.tracking.get(run.info.run_id)
    assert (ours.status, ours.params["C"], len(ours.models)) == ("succeeded", "0.5", 1)
    version = rung_client.registry.version(name, 1)
    assert (version.run_id, [field.name for field in version.signature.inputs]) == (run.info.run_id, ["hour", "wind"])


def test_a_grid_search_becomes_runs_inside_a_run(study: str, mlflow_client: MlflowClient, rung_client: Client) -> None:
    mlflow.sklearn.autolog(silent=True, log_models=False, max_tuning_runs=3)
    search = GridSearchCV(RandomForestClassifier(n_estimators=5, random_state=0), {"max_depth": [1, 2, 3]}, cv=2).fit(TRAIN, LATE_TRAIN)
    experiment = mlflow_client.get_experiment_by_name(study)
    runs = mlflow_client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert {run.data.params["max_depth"] for run in children} == {"1", "2", "3"}
    assert parent.data.metrics["best_cv_score"] == pytest.approx(search.best_score_)
    assert {rung_client.tracking.get(run.info.run_id).parent for run in children} == {parent.info.run_id}
    assert {item.path for item in mlflow_client.list_artifacts(parent.info.run_id)} >= {"cv_results.csv"}


def test_lightgbm(study: str, mlflow_client: MlflowClient, rung_client: Client, fresh: Callable[[str], str]) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    mlflow.lightgbm.autolog(silent=True)
    train = lightgbm.Dataset(TRAIN, LATE_TRAIN)
    options = {"objective": "binary", "metric": "binary_logloss", "verbose": -1, "num_leaves": 5}
    booster = lightgbm.train(options, train, 12, valid_sets=[lightgbm.Dataset(TEST, LATE_TEST, reference=train)], valid_names=["held"])
    run = the_run(mlflow_client, study)
    assert run.data.params["num_leaves"] == "5"
    curve = mlflow_client.get_metric_history(run.info.run_id, "held-binary_logloss")
    assert [point.step for point in curve] == list(range(12))
    assert len(rung_client.tracking.history(run.info.run_id, "held-binary_logloss").points) == 12
    assert "feature_importance_gain.json" in {item.path for item in mlflow_client.list_artifacts(run.info.run_id)}
    loaded = mlflow.pyfunc.load_model(register(mlflow_client, fresh("late"), run))
    assert np.allclose(loaded.predict(TEST), booster.predict(TEST))


def test_xgboost(study: str, mlflow_client: MlflowClient, fresh: Callable[[str], str]) -> None:
    xgboost = pytest.importorskip("xgboost")
    mlflow.xgboost.autolog(silent=True)
    held = xgboost.DMatrix(TEST, LATE_TEST)
    options = {"objective": "binary:logistic", "max_depth": 2}
    booster = xgboost.train(options, xgboost.DMatrix(TRAIN, LATE_TRAIN), 8, evals=[(held, "held")], verbose_eval=False)
    run = the_run(mlflow_client, study)
    assert run.data.params["max_depth"] == "2"
    assert len(mlflow_client.get_metric_history(run.info.run_id, "held-logloss")) == 8
    loaded = mlflow.xgboost.load_model(register(mlflow_client, fresh("late"), run))
    assert np.allclose(loaded.predict(held), booster.predict(held))


def test_pytorch(study: str, mlflow_client: MlflowClient, fresh: Callable[[str], str]) -> None:
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    rows = TEST.to_numpy(dtype=np.float32)
    with mlflow.start_run():
        mlflow.pytorch.log_model(network, name="model", input_example=rows[:2], pip_requirements=[], serialization_format="pickle")
    run = the_run(mlflow_client, study)
    loaded = mlflow.pytorch.load_model(register(mlflow_client, fresh("late"), run))
    expected = network(torch.from_numpy(rows)).detach().numpy()
    assert np.allclose(loaded(torch.from_numpy(rows)).detach().numpy(), expected)


def test_pytorch_lightning(study: str, mlflow_client: MlflowClient) -> None:
    torch = pytest.importorskip("torch")
    lightning = pytest.importorskip("lightning")

    class Late(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(self.layer(batch[0])[:, 0], batch[1])
            self.log("loss", loss, on_epoch=True, on_step=False)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    mlflow.pytorch.autolog(silent=True, log_models=False)
    data = torch.utils.data.TensorDataset(
        torch.tensor(TRAIN.to_numpy(), dtype=torch.float32), torch.tensor(LATE_TRAIN.to_numpy(), dtype=torch.float32)
    )
    trainer = lightning.Trainer(max_epochs=3, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    trainer.fit(Late(), torch.utils.data.DataLoader(data, batch_size=50))
    run = the_run(mlflow_client, study)
    assert len(mlflow_client.get_metric_history(run.info.run_id, "loss")) == 3


def test_a_model_by_its_run(study: str, mlflow_client: MlflowClient) -> None:
    mlflow.sklearn.autolog(silent=True)
    with mlflow.start_run() as active:
        model = LogisticRegression().fit(TRAIN, LATE_TRAIN)
    loaded = mlflow.sklearn.load_model(f"runs:/{active.info.run_id}/model")
    assert np.array_equal(loaded.predict(TEST), model.predict(TEST))
