"""Registered models of MLflow's client: first-class versions of Rung, which are gated, deployed and asked."""

from __future__ import annotations

from collections.abc import Callable

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest
import requests
from mlflow import MlflowClient
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

from rung.client.client import Client
from rung.core.errors import Conflict, Invalid
from tests.protocol.mlflow.conftest import Served, both

pytestmark = pytest.mark.xdist_group("mlflow-registry")
RNG = np.random.default_rng(11)
ROWS = pd.DataFrame({"distance": RNG.normal(800.0, 200.0, 400), "carrier_delay": RNG.normal(10.0, 5.0, 400)})
LATE = (ROWS["carrier_delay"] + RNG.normal(0.0, 2.0, 400)) > 10.0
FITTED = LogisticRegression().fit(ROWS, LATE)


@pytest.fixture
def champion(study: str, mlflow_client: MlflowClient, fresh: Callable[[str], str]) -> tuple[str, str]:
    """Name of a model with one version and the alias `champion`, and the run that made it: a user's script, unchanged."""
    name = fresh("late")
    with mlflow.start_run() as run:
        mlflow.log_metric("accuracy", FITTED.score(ROWS, LATE))
        mlflow.sklearn.log_model(
            FITTED,
            name="model",
            signature=infer_signature(ROWS, FITTED.predict(ROWS)),
            input_example=ROWS.head(3),
            registered_model_name=name,
        )
    mlflow_client.set_registered_model_alias(name, "champion", "1")
    return name, run.info.run_id


@both
def test_a_model_is_logged_registered_and_loaded_by_its_alias(champion: tuple[str, str], mlflow_client: MlflowClient) -> None:
    name, run = champion
    loaded = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    assert (loaded.predict(ROWS) == FITTED.predict(ROWS)).all()
    version = mlflow_client.get_model_version_by_alias(name, "champion")
    assert (version.version, version.run_id, version.status) == ("1", run, "READY")
    assert version.aliases == ["champion"]


@both
def test_such_a_version_is_gated_deployed_and_asked_like_any_other(
    champion: tuple[str, str], rung_client: Client, fresh: Callable[[str], str]
) -> None:
    name, run = champion
    registry = rung_client.registry
    version = registry.version(name, alias="champion")
    assert (version.run_id, version.format, version.task, version.unservable) == (run, "skops", "binary", "")
    assert [(field.name, field.dtype) for field in version.signature.inputs] == [("distance", "Float64"), ("carrier_delay", "Float64")]
    assert registry.input_example(name, 1).columns == ["distance", "carrier_delay"]
    assert version.size_bytes > 0
    edges = {(edge.source.kind, edge.source.id, edge.relation) for edge in rung_client.governance.trace("model_version", f"{name}:1").edges}
    assert ("run", run, "produced") in edges

    flights = fresh("flights")
    rung_client.data.add(flights, pl.from_pandas(ROWS).with_columns(late=pl.Series(LATE.to_numpy())))
    with pytest.raises(Conflict, match="which column holds the truth"):
        registry.check_gate(name, 1, dataset=flights)
    registry.describe(name, 1, label="late")
    registry.set_gate_rules(name, [{"gate": "contract"}, {"gate": "threshold", "metric": "roc_auc", "at_least": 0.8}], dataset=flights)
    verdict = registry.check_gate(name, 1)
    assert verdict.passed, verdict.reasons

    deployed = fresh("ewr")
    rung_client.serving.deploy(deployed, name, alias="champion")
    rows = pl.from_pandas(ROWS.head(5))
    answers = rung_client.serving.predict(deployed, rows)
    expected = FITTED.predict_proba(ROWS.head(5))[:, 1]
    assert answers["score"].to_list() == pytest.approx(expected.tolist(), abs=1e-6)

    for wrong, said in (
        (rows.rename({"distance": "distanz"}), "distance"),
        (rows.drop("carrier_delay"), "carrier_delay"),
        (rows.with_columns(distance=pl.lit("far")), "distance"),
        (rows.with_columns(late=pl.lit(True)), "late"),
    ):  # fmt: skip
        with pytest.raises(Invalid, match=said):
            rung_client.serving.predict(deployed, wrong)
    with pytest.raises(Conflict, match=f"deployment {deployed}"):
        registry.delete_version(name, 1, remove_aliases=True)


def test_the_scoring_address_that_mlflows_users_know_enforces_the_signature(
    champion: tuple[str, str], rung_client: Client, server: Served, fresh: Callable[[str], str]
) -> None:
    name, _ = champion
    deployed = fresh("jfk")
    rung_client.serving.deploy(deployed, name, number=1, environment="staging")

    def score(frame: pd.DataFrame) -> requests.Response:
        return requests.post(
            f"{server.url}/deployments/{deployed}/invocations", json={"dataframe_split": frame.to_dict(orient="split")},
            headers={"Authorization": f"Bearer {server.token}"}, timeout=60,
        )  # fmt: skip

    good = score(ROWS.head(2))
    assert good.status_code == 200, good.text
    assert len(good.json()["predictions"]) == 2
    bad = score(ROWS.head(2).rename(columns={"distance": "distanz"}))
    assert bad.status_code == 400
    assert "distance" in bad.text


def test_a_deleted_version_is_gone_for_mlflows_client_until_it_is_restored(
    champion: tuple[str, str], rung_client: Client, mlflow_client: MlflowClient, refused: Callable[..., str]
) -> None:
    name, _ = champion
    mlflow_client.delete_model_version(name, "1")
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.get_model_version, name, "1")
    assert rung_client.registry.restore_version(name, 1).deleted_at is None
    mlflow_client.set_registered_model_alias(name, "champion", "1")
    assert mlflow.pyfunc.load_model(f"models:/{name}@champion").predict(ROWS.head(1)).shape == (1,)


def test_rejections_and_approvals_hold_for_mlflows_client(
    champion: tuple[str, str], rung_client: Client, mlflow_client: MlflowClient, refused: Callable[..., str]
) -> None:
    name, _ = champion
    said = rung_client.registry.reject(name, 1, "Trained on one airport.")
    mlflow_client.delete_registered_model_alias(name, "champion")
    message = refused("INVALID_PARAMETER_VALUE", mlflow_client.set_registered_model_alias, name, "champion", "1")
    assert "Trained on one airport." in message
    rung_client.registry.revoke_approval(said.id)
    mlflow_client.set_registered_model_alias(name, "champion", "1")
    assert rung_client.registry.model(name).aliases == {"champion": 1}
