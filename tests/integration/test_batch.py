"""Batch inference gives exactly one score for each row, whatever is killed on the way, and the scores of serving."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from rung.client.batch import resume_scoring, score_dataset
from rung.client.client import Client, connect
from rung.core.errors import Invalid, NotFound
from rung.pipelines.authoring import pipeline


def _prepared(client: Client, rows: int) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    frame = pl.DataFrame({"a": generator.normal(size=rows), "b": generator.normal(size=rows), "key": [f"k{i}" for i in range(rows)]})
    train = frame.head(200).select("a", "b")
    model = LogisticRegression().fit(train, (train["a"] > 0).to_numpy().astype(int))
    client.registry.register("tiny", model, example=train.head(20), label="y")
    client.data.add("people", frame)
    return frame


def test_every_row_has_one_score_and_it_is_that_of_serving(client: Client) -> None:
    frame = _prepared(client, 1003)
    run, made = score_dataset(client, "tiny", "people", into="scores", keep=["key"], rows=100)
    assert run.status == "succeeded", run.error
    assert made is not None
    result = client.data.frame("scores", made.number)
    assert result.columns == ["row", "key", "predict", "score"]
    assert result["row"].to_list() == list(range(1003))
    assert result["key"].to_list() == frame["key"].to_list()
    client.serving.deploy("tiny", "tiny", 1, environment="staging")
    served = client.serving.predict("tiny", frame.select("a", "b").head(50))
    for name in ("predict", "score"):
        assert result[name].head(50).to_list() == served[name].to_list()
    # lineage: which model and which rows made it
    up = client.governance.trace("dataset_version", f"scores:{made.number}")
    assert {("model_version", "tiny:1"), ("dataset_version", "people:1")} <= {(n.kind, n.id) for n in up.nodes}


def test_a_row_has_the_score_of_each_of_several_classes_and_its_class(client: Client) -> None:
    frame = _prepared(client, 300)
    model = LogisticRegression().fit(frame.select("a", "b"), np.where(frame["a"] > 0.5, "up", np.where(frame["a"] < -0.5, "down", "flat")))
    client.registry.register("move", model, example=frame.select("a", "b").head(20), label="y")
    _, made = score_dataset(client, "move", "people", into="moves", rows=100)
    assert made is not None
    result = client.data.frame("moves", made.number)
    assert result.columns == ["row", "predict", "score_0", "score_1", "score_2"]
    assert result["predict"].to_list() == model.predict(frame.select("a", "b")).tolist()
    with pytest.raises(Invalid, match="'predict' cannot be kept"):
        score_dataset(client, "move", "people", into="moves", keep=["predict"])


def test_rows_that_were_scored_are_not_scored_again(client: Client) -> None:
    _prepared(client, 500)
    _, made = score_dataset(client, "tiny", "people", into="scores", rows=100)
    second, again = score_dataset(client, "tiny", "people", into="scores", rows=100)
    assert made is not None
    assert again is not None
    assert made.number == again.number == 1  # the same content is the same version
    step = next(step for step in client.pipelines.get(second.id).steps if step.key == "scored")
    assert step.items_cached == step.items == 5 or step.status == "cached"


def test_a_run_that_has_ended_well_is_resumed_to_what_it_made(client: Client, tmp_path: Path) -> None:
    _prepared(client, 300)
    run, made = score_dataset(client, "tiny", "people", into="scores", rows=100)
    assert made is not None
    assert resume_scoring(client, f"batch-scoring:{run.number}") == (run, made)
    with pytest.raises(NotFound):
        resume_scoring(client, "batch-scoring:99")

    @pipeline
    def other() -> None:
        pass

    with pytest.raises(Invalid, match="scores no dataset"):
        resume_scoring(client, client.pipelines.run(other).id)


def test_what_cannot_be_scored_is_said_before_anything_runs(client: Client) -> None:
    _prepared(client, 300)
    with pytest.raises(NotFound):
        score_dataset(client, "tiny", "nobody", into="scores")
    with pytest.raises(Invalid, match="'c' cannot be kept"):
        score_dataset(client, "tiny", "people", into="scores", keep=["c"])
    with pytest.raises(Invalid, match="0 rows"):
        score_dataset(client, "tiny", "people", into="scores", rows=0)


def _items_scored(client: Client) -> int:
    try:
        return len(client.pipelines.items("batch-scoring:1", "scored", limit=1000))
    except NotFound:
        return 0


def test_a_batch_that_is_killed_again_and_again_ends_with_one_score_a_row(tmp_path: Path) -> None:
    (tmp_path / "rung.toml").write_text("[engine]\nlease_s = 2.0\n")
    with connect(folder=tmp_path) as client:
        frame = _prepared(client, 2000)
        expected = client.registry.predictor("tiny", 1).predict_scores(frame.select("a", "b"))
    command = [sys.executable, "-m", "rung.cli.main", "batch", "tiny", "people", "--into", "scores", "--rows", "10", "--json"]
    chance, kills, done = random.Random(7), 0, None
    environ = {key: value for key, value in os.environ.items() if not key.startswith("RUNG_")}
    with connect(folder=tmp_path) as client:
        for attempt in range(40):
            more = ["--resume", "batch-scoring:1"] if attempt else []
            enough = _items_scored(client) + chance.randint(1, 20) if kills < 3 else sys.maxsize
            process = subprocess.Popen(
                [*command, *more], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )  # fmt: skip
            while process.poll() is None and _items_scored(client) < enough:
                time.sleep(0.01)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
            out, err = process.communicate(timeout=120)
            if process.returncode == 0:
                done = json.loads(out)
                break
            if process.returncode > 0:
                time.sleep(0.5)  # the lease of the one that was killed still stands
                assert b"being_executed" in out, (out, err)
    assert done is not None
    assert kills >= 1
    with connect(folder=tmp_path) as client:
        result = client.data.frame("scores")
        assert result["row"].to_list() == list(range(2000))
        assert result["score"].to_list() == pytest.approx(expected.tolist(), rel=1e-12)  # sums of 10 rows and of all may round otherwise
        assert len(client.data.versions("scores").items) == 1
        # an item that ended was never executed again
        items = client.pipelines.items("batch-scoring:1", "scored", limit=1000)
        assert sorted(item.position for item in items) == list(range(200))
    other = [*command[:5], "animals", *command[6:], "--resume", "batch-scoring:1"]
    refused = subprocess.run(other, cwd=tmp_path, env=environ, capture_output=True, timeout=120, check=False)
    assert refused.returncode == 2, refused
    assert b"has dataset 'people', not 'animals'" in refused.stdout + refused.stderr
    again = subprocess.run(
        [*command, "--resume", "batch-scoring:1"], cwd=tmp_path, env=environ, capture_output=True, timeout=120, check=True
    )
    assert json.loads(again.stdout) == done
