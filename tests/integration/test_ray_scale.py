"""A step hands its training to Ray Train and a batch its partitions to Ray Data, on one small cluster of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.app.local import local_transport
from rung.client.batch import score_dataset
from rung.client.client import Client
from rung.client.scaling import train_on_ray
from rung.core.errors import Invalid
from rung.core.settings import load_settings

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("ray-cluster")]  # Ray's own warnings when it starts

PROJECT = """
import json, os, tempfile
from pathlib import Path
import rung
from rung import pipeline, step

def learn(config):
    import ray.train
    begun = 0
    held = rung.train_checkpoint()
    if held is not None:
        with held.as_directory() as folder:
            begun = json.loads((Path(folder) / "state.json").read_text())["epoch"]
    for epoch in range(begun + 1, config["epochs"] + 1):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.json").write_text(json.dumps({"epoch": epoch}))
            saved = ray.train.Checkpoint.from_directory(folder) if ray.train.get_context().get_world_rank() == 0 else None
            ray.train.report({"loss": 1 / epoch, "begun": begun}, checkpoint=saved)
        if epoch == 2 and begun == 0:
            raise RuntimeError("a worker fails")

@step(retries=1, backoff=0.01, cache=False)
def trained() -> Path:
    made = rung.train_on_ray(learn, config={"epochs": 4}, workers=1)
    assert made.metrics["begun"] == 2, made
    assert made.reports == 4, made
    return made.checkpoint

@step
def read(folder: Path) -> int:
    return json.loads((folder / "state.json").read_text())["epoch"]

@pipeline
def training():
    return read(trained())
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One node with three cores and little memory."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    ray.init(
        "local",  # never one that another test left an address of
        num_cpus=3, include_dashboard=False, _node_ip_address="127.0.0.1", object_store_memory=100 << 20, logging_level="ERROR",
        log_to_driver=False, namespace="rung",
    )  # fmt: skip
    yield
    ray.shutdown()


def test_a_retry_of_a_training_goes_on_from_the_last_checkpoint_of_its_workers(tmp_path: Path, cluster: None) -> None:
    (tmp_path / "pipelines.py").write_text(PROJECT)
    with Client(local_transport(load_settings(tmp_path, environ={}))) as client:
        run = client.pipelines.run("training")
        assert run.status == "succeeded", run.error
        assert client.pipelines.output(run.id) == 4
        step = next(step for step in client.pipelines.get(run.id).steps if step.key == "trained")
        assert step.attempts == 2


def test_a_batch_on_ray_data_has_the_scores_of_one_that_is_not(client: Client, cluster: None) -> None:
    generator = np.random.default_rng(0)
    frame = pl.DataFrame({"a": generator.normal(size=503), "b": generator.normal(size=503), "key": [f"k{i}" for i in range(503)]})
    train = frame.head(200).select("a", "b")
    model = LogisticRegression().fit(train, (train["a"] > 0).to_numpy().astype(int))
    client.registry.register("tiny", model, example=train.head(20), label="y")
    client.data.add("people", frame)
    _, plain = score_dataset(client, "tiny", "people", into="plain", keep=["key"], rows=100)
    run, made = score_dataset(client, "tiny", "people", into="spread", keep=["key"], rows=100, on="ray")
    assert run.status == "succeeded", run.error
    assert plain is not None
    assert made is not None
    spread = client.data.frame("spread", made.number)
    assert spread["row"].to_list() == list(range(503))
    assert spread.equals(client.data.frame("plain", plain.number))


def test_what_makes_no_sense_is_said_before_a_cluster_is_asked() -> None:
    with pytest.raises(Invalid, match="0 workers"):
        train_on_ray(print, workers=0)
