"""Logged models as the real client makes, changes and finds them, beside what the shared kit and autolog already ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import LoggedModel, LoggedModelStatus, Metric

from tests.protocol.mlflow.conftest import Wire

AT = 1_700_000_000_000


def measured(
    client: MlflowClient, run: str, model: LoggedModel, key: str, value: float, *, on: tuple[str, str] | None = None, step: int = 0
) -> None:
    """Log a metric of a model, on a dataset or on none."""
    name, digest = on or (None, None)
    metric = Metric(key, value, AT + step, step, model_id=model.model_id, dataset_name=name, dataset_digest=digest, run_id=run)
    client.log_batch(run, metrics=[metric])


@pytest.fixture
def three(mlflow_client: MlflowClient, experiment: str, run: str) -> list[LoggedModel]:
    """Three models with the metric ``auc``: the first on two datasets, the second on one, the third on none."""
    models = [mlflow_client.create_logged_model(experiment, name=f"m{n}", source_run_id=run, params={"n": str(n)}) for n in range(3)]
    measured(mlflow_client, run, models[0], "auc", 0.9, on=("train", "d1"))
    measured(mlflow_client, run, models[0], "auc", 0.6, on=("test", "d2"))
    measured(mlflow_client, run, models[1], "auc", 0.7, on=("test", "d3"))
    measured(mlflow_client, run, models[2], "auc", 0.8)
    return models


def names(models: list[LoggedModel]) -> list[str]:
    return [model.name for model in models]


def test_models_are_found_by_what_they_were_measured_on(mlflow_client: MlflowClient, experiment: str, three: list[LoggedModel]) -> None:
    def found(text: str, *datasets: dict[str, str]) -> set[str]:
        return set(names(mlflow_client.search_logged_models([experiment], filter_string=text, datasets=list(datasets))))

    assert found("metrics.auc > 0.75") == {"m0", "m2"}
    assert found("metrics.auc > 0.5", {"dataset_name": "test"}) == {"m0", "m1"}
    assert found("metrics.auc > 0.65", {"dataset_name": "test"}) == {"m1"}
    assert found("metrics.auc > 0.65", {"dataset_name": "test"}, {"dataset_name": "train"}) == {"m0", "m1"}
    assert found("metrics.auc > 0.5", {"dataset_name": "test", "dataset_digest": "d2"}) == {"m0"}
    assert found("", {"dataset_name": "train"}) == {"m0"}
    assert found("params.n = '1'", {"dataset_name": "test"}) == {"m1"}
    assert found("metrics.auc > 0", {"dataset_name": "nothing"}) == set()
    assert found("metrics.auc < 0.65 AND metrics.auc > 0.85") == {"m0"}  # each claim of one of its values


def test_models_are_ordered_by_what_they_were_on_a_dataset(mlflow_client: MlflowClient, experiment: str, three: list[LoggedModel]) -> None:
    def ordered(*, ascending: bool, **dataset: str) -> list[str]:
        by = [{"field_name": "metrics.auc", "ascending": ascending, **dataset}]
        return names(mlflow_client.search_logged_models([experiment], order_by=by))

    assert ordered(ascending=True, dataset_name="test") == ["m0", "m1", "m2"]
    assert ordered(ascending=False, dataset_name="test") == ["m1", "m0", "m2"]  # those without the metric come last in both
    assert ordered(ascending=False, dataset_name="test", dataset_digest="d2")[0] == "m0"
    assert ordered(ascending=False, dataset_name="train")[0] == "m0"


def test_the_newest_value_orders_a_model_measured_often(
    mlflow_client: MlflowClient, experiment: str, run: str, three: list[LoggedModel]
) -> None:
    for step, value in ((1, 0.1), (2, 0.99), (3, 0.2)):
        measured(mlflow_client, run, three[2], "auc", value, step=step)
    by = [{"field_name": "metrics.auc", "ascending": True}]
    assert names(mlflow_client.search_logged_models([experiment], order_by=by))[0] == "m2"


def test_a_dataset_without_a_name_is_refused(mlflow_client: MlflowClient, experiment: str, wire: Wire, refused: Callable[..., str]) -> None:
    refused("INVALID_PARAMETER_VALUE", mlflow_client.search_logged_models, [experiment], datasets=[{"dataset_name": ""}])
    body = {"experiment_ids": [experiment], "order_by": [{"field_name": "params.n", "dataset_name": "test"}]}
    answer = wire.post("logged-models/search", body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = 'm1'", {"m1"}), ("name LIKE 'm%'", {"m0", "m1", "m2"}), ("name ILIKE 'M2'", {"m2"}), ("name != 'm0'", {"m1", "m2"}),
        ("attributes.status = 'PENDING'", set()), ("params.n = '2'", {"m2"}), ("params.n != '2'", {"m0", "m1"}), ("tags.a = 'b'", {"m0"}),
        ("tags.`a` LIKE '_'", {"m0"}), ("name IN ('m0', 'm2')", {"m0", "m2"}), ("name NOT IN ('m0')", {"m1", "m2"}),
        ("creation_timestamp > 0 AND metrics.auc >= 0.8", {"m0", "m2"}), ("last_updated_timestamp < 1", set()),
    ],
)  # fmt: skip
def test_models_are_found_by_their_facts(
    mlflow_client: MlflowClient, experiment: str, three: list[LoggedModel], text: str, expected: set[str]
) -> None:
    mlflow_client.set_logged_model_tags(three[0].model_id, {"a": "b"})
    assert set(names(mlflow_client.search_logged_models([experiment], filter_string=text))) == expected


@pytest.mark.parametrize(
    "text", ["name >", "nothing = 'x'", "metrics.auc > 'x' OR name = 'y'", "datasets.name = 'x'", "(name = 'x')", "params.n = "]
)
def test_a_filter_that_makes_no_sense_is_refused(
    mlflow_client: MlflowClient, experiment: str, refused: Callable[..., str], text: str
) -> None:
    refused("INVALID_PARAMETER_VALUE", mlflow_client.search_logged_models, [experiment], filter_string=text)


def test_pages_of_models_follow_each_other(mlflow_client: MlflowClient, experiment: str) -> None:
    for n in range(5):
        mlflow_client.create_logged_model(experiment, name=f"p{n}")
    seen: list[str] = []
    token = None
    while True:
        page = mlflow_client.search_logged_models([experiment], max_results=2, page_token=token)
        seen += names(page)
        token = page.token
        if not token:
            break
    assert seen == ["p4", "p3", "p2", "p1", "p0"]


def test_a_model_is_pending_until_it_is_finalized(mlflow_client: MlflowClient, experiment: str) -> None:
    model = mlflow_client.create_logged_model(experiment, name="slow", model_type="Agent", tags={"t": "1"}, params={"p": "2"})
    assert (model.status, model.model_type, model.tags, model.params) == (LoggedModelStatus.PENDING, "Agent", {"t": "1"}, {"p": "2"})
    assert model.artifact_location == f"mlflow-artifacts:/{experiment}/models/{model.model_id}/artifacts"
    ready = mlflow_client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    assert ready.status == LoggedModelStatus.READY
    assert ready.last_updated_timestamp >= model.last_updated_timestamp
    failed = mlflow_client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
    assert failed.status == LoggedModelStatus.FAILED


def test_params_of_a_model_are_written_once(mlflow_client: MlflowClient, experiment: str, refused: Callable[..., str]) -> None:
    model = mlflow_client.create_logged_model(experiment, params={"a": "1"})
    mlflow_client.log_model_params(model.model_id, {"b": "2", "long": "x" * 5000})
    assert mlflow_client.get_logged_model(model.model_id).params == {"a": "1", "b": "2", "long": "x" * 5000}
    refused("INVALID_PARAMETER_VALUE", mlflow_client.log_model_params, model.model_id, {"a": "other"})


def test_tags_of_a_model_are_set_and_taken_off(mlflow_client: MlflowClient, experiment: str) -> None:
    model = mlflow_client.create_logged_model(experiment)
    mlflow_client.set_logged_model_tags(model.model_id, {"a": "1", "b/c d": "2", "%2e": "3"})
    mlflow_client.set_logged_model_tags(model.model_id, {"a": "3"})
    mlflow_client.delete_logged_model_tag(model.model_id, "b/c d")
    assert mlflow_client.get_logged_model(model.model_id).tags == {"a": "3", "%2e": "3"}


def test_a_deleted_model_is_gone_from_everywhere(mlflow_client: MlflowClient, experiment: str, refused: Callable[..., str]) -> None:
    kept, gone = (mlflow_client.create_logged_model(experiment, name=name) for name in ("kept", "gone"))
    mlflow_client.delete_logged_model(gone.model_id)
    assert names(mlflow_client.search_logged_models([experiment])) == [kept.name]
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.get_logged_model, gone.model_id)
    refused("INVALID_PARAMETER_VALUE", mlflow_client.set_logged_model_tags, gone.model_id, {"a": "b"})  # the client's own word for it
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.finalize_logged_model, gone.model_id, LoggedModelStatus.READY)
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.delete_logged_model, gone.model_id)


def test_folders_of_a_model_are_listed(wire: Wire, mlflow_client: MlflowClient, experiment: str) -> None:
    model = mlflow_client.create_logged_model(experiment)
    for name in ("MLmodel", "data/a.bin", "data/deep/b.bin"):
        wire.send("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/models/{model.model_id}/artifacts/{name}", data=b"12345")
    told = wire.get(f"logged-models/{model.model_id}/artifacts/directories").json()
    assert told["root_uri"] == model.artifact_location
    assert told["files"] == [{"path": "MLmodel", "is_dir": False, "file_size": 5}, {"path": "data", "is_dir": True}]
    below = wire.get(f"logged-models/{model.model_id}/artifacts/directories", artifact_directory_path="data").json()
    assert [item["path"] for item in below["files"]] == ["data/a.bin", "data/deep"]
    assert [item.path for item in mlflow_client.list_logged_model_artifacts(model.model_id, "data")] == ["data/a.bin", "data/deep"]
    for path in ("..", "../x", "a/../..", "/etc", "a\x00"):
        assert wire.get(f"logged-models/{model.model_id}/artifacts/directories", artifact_directory_path=path).status_code == 400, path


def test_metrics_of_a_model_name_run_step_and_dataset(mlflow_client: MlflowClient, study: str) -> None:
    with mlflow.start_run() as run:
        model = mlflow.initialize_logged_model(name="m")
        data = from_numpy(np.zeros((3, 2)), name="zeros")
        mlflow.log_metric("loss", float("nan"), step=2, model_id=model.model_id, dataset=data)
        mlflow.log_metric("loss", 0.5, step=1, model_id=model.model_id, dataset=data)
        mlflow.log_metrics({"a": 1.0, "b": -0.0}, model_id=model.model_id)
    metrics = {metric.key: metric for metric in mlflow_client.get_logged_model(model.model_id).metrics or []}
    loss = metrics["loss"]
    assert loss.value != loss.value  # NaN at the later step
    assert (loss.step, loss.run_id, loss.dataset_name, loss.dataset_digest) == (2, run.info.run_id, "zeros", data.digest)
    assert (metrics["a"].value, metrics["b"].value) == (1.0, 0.0)


def test_inputs_and_outputs_of_a_run_name_its_models(
    mlflow_client: MlflowClient, experiment: str, run: str, refused: Callable[..., str]
) -> None:
    model = mlflow_client.create_logged_model(experiment, source_run_id=run)
    mlflow_client.log_outputs(run, [mlflow.entities.LoggedModelOutput(model.model_id, step=7)])
    mlflow_client.log_inputs(run, models=[mlflow.entities.LoggedModelInput(model.model_id)])
    held: Any = mlflow_client.get_run(run)
    assert [(item.model_id, item.step) for item in held.outputs.model_outputs] == [(model.model_id, 7)]
    assert [item.model_id for item in held.inputs.model_inputs] == [model.model_id]
    nothing = "m-" + "g" * 32
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.log_outputs, run, [mlflow.entities.LoggedModelOutput(nothing, step=0)])


def test_a_model_belongs_to_an_experiment_and_a_run_that_are_there(
    mlflow_client: MlflowClient, experiment: str, refused: Callable[..., str]
) -> None:
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.create_logged_model, "999999")
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.create_logged_model, experiment, source_run_id="0" * 32)
