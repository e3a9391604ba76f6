"""Experiments, runs, params, metrics, tags, batches and inputs, as MLflow's client logs and reads them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType

from rung.client.client import Client
from tests.protocol.mlflow.conftest import Served, Wire, both

pytestmark = pytest.mark.xdist_group("mlflow-tracking")
GREATEST = 1.7976931348623157e308


def test_the_default_experiment_has_the_id_zero(mlflow_client: MlflowClient) -> None:
    assert mlflow_client.get_experiment("0").name == "Default"


@both
def test_an_experiment_is_read_by_id_and_by_name(mlflow_client: MlflowClient, fresh: Callable[[str], str]) -> None:
    name = fresh("read")
    experiment = mlflow_client.create_experiment(name, tags={"team": "blue"})
    by_id, by_name = mlflow_client.get_experiment(experiment), mlflow_client.get_experiment_by_name(name)
    assert (by_id.name, by_id.tags["team"], by_id.lifecycle_stage) == (name, "blue", "active")
    assert by_name.experiment_id == experiment == str(int(experiment))
    assert by_id.artifact_location
    assert by_id.creation_time > 0
    assert by_id.last_update_time >= by_id.creation_time


def test_experiment_names_are_free_text_and_unique(mlflow_client: MlflowClient, fresh: Callable[[str], str], refused: Callable) -> None:
    for name in (fresh("zwei Wörter / 高い"), fresh("x") + "y" * 400):
        experiment = mlflow_client.create_experiment(name)
        assert mlflow_client.get_experiment(experiment).name == name
        refused("RESOURCE_ALREADY_EXISTS", mlflow_client.create_experiment, name)


def test_experiments_that_are_not_there(mlflow_client: MlflowClient, fresh: Callable[[str], str], refused: Callable) -> None:
    assert mlflow_client.get_experiment_by_name(fresh("missing")) is None
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.get_experiment, "987654321")
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.create_run, "987654321")
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.rename_experiment, "987654321", "new")


def test_an_experiment_is_renamed_but_not_to_a_taken_name(
    mlflow_client: MlflowClient, experiment: str, fresh: Callable[[str], str], refused: Callable
) -> None:
    name, taken = fresh("renamed"), fresh("taken")
    mlflow_client.rename_experiment(experiment, name)
    assert mlflow_client.get_experiment_by_name(name).experiment_id == experiment
    mlflow_client.create_experiment(taken)
    refused("RESOURCE_ALREADY_EXISTS", mlflow_client.rename_experiment, experiment, taken)


@both
def test_a_deleted_experiment_keeps_its_name_and_comes_back(mlflow_client: MlflowClient, experiment: str, refused: Callable) -> None:
    name = mlflow_client.get_experiment(experiment).name
    mlflow_client.delete_experiment(experiment)
    assert mlflow_client.get_experiment(experiment).lifecycle_stage == "deleted"
    refused("RESOURCE_ALREADY_EXISTS", mlflow_client.create_experiment, name)
    mlflow_client.restore_experiment(experiment)
    assert mlflow_client.get_experiment(experiment).lifecycle_stage == "active"


def test_tags_of_an_experiment_are_set_and_deleted(mlflow_client: MlflowClient, experiment: str) -> None:
    mlflow_client.set_experiment_tag(experiment, "owner", "ann")
    mlflow_client.set_experiment_tag(experiment, "owner", "bob")
    assert mlflow_client.get_experiment(experiment).tags["owner"] == "bob"
    mlflow_client.delete_experiment_tag(experiment, "owner")
    assert "owner" not in mlflow_client.get_experiment(experiment).tags


@both
def test_a_new_run_is_running_and_named(mlflow_client: MlflowClient, experiment: str) -> None:
    run = mlflow_client.create_run(experiment, run_name="first", start_time=1_700_000_000_000, tags={"k": "v"})
    held = mlflow_client.get_run(run.info.run_id)
    assert (held.info.status, held.info.run_name, held.info.start_time, held.info.end_time) == ("RUNNING", "first", 1_700_000_000_000, None)
    assert (held.info.experiment_id, held.info.lifecycle_stage, len(held.info.run_id)) == (experiment, "active", 32)
    assert (held.data.tags["k"], held.data.tags["mlflow.runName"]) == ("v", "first")
    assert held.info.artifact_uri.startswith("mlflow-artifacts:/")


def test_a_run_without_a_name_gets_one(mlflow_client: MlflowClient, experiment: str) -> None:
    run = mlflow_client.create_run(experiment)
    assert run.info.run_name
    assert mlflow_client.get_run(run.info.run_id).data.tags["mlflow.runName"] == run.info.run_name


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_ends(mlflow_client: MlflowClient, run: str, status: str) -> None:
    mlflow_client.set_terminated(run, status, end_time=1_800_000_000_000)
    info = mlflow_client.get_run(run).info
    assert (info.status, info.end_time) == (status, 1_800_000_000_000)


def test_an_ended_run_is_resumed(study: str, mlflow_client: MlflowClient) -> None:
    with mlflow.start_run() as first:
        mlflow.log_metric("loss", 1.0, step=0)
    with mlflow.start_run(run_id=first.info.run_id):
        assert mlflow_client.get_run(first.info.run_id).info.status == "RUNNING"
        mlflow.log_metric("loss", 0.5, step=1)
    held = mlflow_client.get_run(first.info.run_id)
    assert (held.info.status, held.data.metrics["loss"]) == ("FINISHED", 0.5)


def test_a_block_that_raises_leaves_a_failed_run(study: str, mlflow_client: MlflowClient) -> None:
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as run:
        1 / 0  # noqa: B018
    assert mlflow_client.get_run(run.info.run_id).info.status == "FAILED"


def test_name_and_name_tag_of_a_run_move_together(mlflow_client: MlflowClient, run: str) -> None:
    mlflow_client.update_run(run, name="second")
    held = mlflow_client.get_run(run)
    assert held.info.run_name == held.data.tags["mlflow.runName"] == "second"
    mlflow_client.set_tag(run, "mlflow.runName", "third")
    held = mlflow_client.get_run(run)
    assert held.info.run_name == held.data.tags["mlflow.runName"] == "third"


@both
def test_a_deleted_run_is_hidden_and_refuses_writes(mlflow_client: MlflowClient, experiment: str, run: str, refused: Callable) -> None:
    mlflow_client.delete_run(run)
    assert mlflow_client.search_runs([experiment]) == []
    assert [r.info.run_id for r in mlflow_client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)] == [run]
    refused("INVALID_PARAMETER_VALUE", mlflow_client.log_metric, run, "late", 1.0)
    refused("INVALID_PARAMETER_VALUE", mlflow_client.log_param, run, "late", 1)
    refused("INVALID_PARAMETER_VALUE", mlflow_client.set_tag, run, "late", "1")
    refused("INVALID_PARAMETER_VALUE", mlflow_client.log_batch, run, [Metric("late", 1.0, 1, 0)])
    mlflow_client.restore_run(run)
    mlflow_client.log_metric(run, "late", 1.0)
    assert [r.info.run_id for r in mlflow_client.search_runs([experiment])] == [run]


def test_a_run_that_is_not_there(mlflow_client: MlflowClient, refused: Callable) -> None:
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.get_run, "0" * 32)
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.log_metric, "0" * 32, "a", 1.0)
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.log_batch, "0" * 32, [Metric("a", 1.0, 1, 0)])
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.delete_run, "0" * 32)


@both
def test_fluent_runs_nest(study: str, mlflow_client: MlflowClient) -> None:
    with mlflow.start_run() as parent, mlflow.start_run(nested=True) as child:
        mlflow.log_param("depth", 2)
    assert mlflow_client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert mlflow_client.get_run(parent.info.run_id).info.status == "FINISHED"


@both
def test_everything_the_fluent_functions_log_is_read_back_and_seen_by_our_own_client(
    study: str, mlflow_client: MlflowClient, rung_client: Client
) -> None:
    with mlflow.start_run(run_name="all of it", description="what it is for") as run:
        mlflow.log_params({"depth": 3, "rate": 0.1, "wide": True, "nothing": None})
        mlflow.log_metrics({"auc": 0.75, "loss": 0.5}, step=4)
        mlflow.set_tags({"stage": "draft", "who": "ann"})
        mlflow.set_experiment_tag("topic", "delays")
        mlflow.log_text("hello", "notes/hello.txt")
        mlflow.log_dict({"a": [1, 2]}, "facts.json")
        mlflow.log_table(pd.DataFrame({"x": [1, 2]}), "rows.json")
        mlflow.log_metric("auc", 0.8, step=5)
    data = mlflow_client.get_run(run.info.run_id).data
    assert data.params == {"depth": "3", "rate": "0.1", "wide": "True", "nothing": "None"}
    assert data.metrics == {"auc": 0.8, "loss": 0.5}
    assert data.tags["mlflow.note.content"] == "what it is for"
    assert {item.path for item in mlflow_client.list_artifacts(run.info.run_id)} == {"notes", "facts.json", "rows.json"}
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/hello.txt") == "hello"
    assert mlflow.load_table("rows.json", run_ids=[run.info.run_id])["x"].tolist() == [1, 2]

    ours = rung_client.tracking.get(run.info.run_id)
    assert (ours.experiment, ours.name, ours.status) == (study, "all of it", "succeeded")
    assert (ours.metrics, ours.params["depth"], ours.tags["stage"]) == ({"auc": 0.8, "loss": 0.5}, "3", "draft")
    assert {item.path for item in rung_client.tracking.artifacts(run.info.run_id)} == {"notes/hello.txt", "facts.json", "rows.json"}


def test_the_latest_metric_is_the_one_with_the_highest_step(mlflow_client: MlflowClient, run: str) -> None:
    for step, value in ((3, 0.3), (10, 1.0), (7, 0.7)):
        mlflow_client.log_metric(run, "loss", value, step=step, timestamp=1000 + step)
    assert mlflow_client.get_run(run).data.metrics["loss"] == 1.0


def test_among_equal_steps_the_later_then_the_greater_point_is_the_latest(mlflow_client: MlflowClient, run: str) -> None:
    mlflow_client.log_batch(run, [Metric("a", 9.0, 1000, 1), Metric("a", 1.0, 2000, 1), Metric("b", 1.0, 5, 1), Metric("b", 7.0, 5, 1)])
    assert mlflow_client.get_run(run).data.metrics == {"a": 1.0, "b": 7.0}


@both
def test_the_history_keeps_every_point(mlflow_client: MlflowClient, run: str) -> None:
    points = [(1000 + i, i // 2, i / 7) for i in range(20)]
    for timestamp, step, value in points:
        mlflow_client.log_metric(run, "loss", value, timestamp=timestamp, step=step)
    assert [(m.timestamp, m.step, m.value) for m in mlflow_client.get_metric_history(run, "loss")] == points
    assert mlflow_client.get_metric_history(run, "never") == []


def test_a_history_of_many_pages_is_whole_and_in_order(mlflow_client: MlflowClient, run: str) -> None:
    for first in range(0, 30_000, 1000):
        mlflow_client.log_batch(run, [Metric("long", float(i), 1_700_000_000_000 + i, i) for i in range(first, first + 1000)])
    history = mlflow_client.get_metric_history(run, "long")
    assert [m.step for m in history] == list(range(30_000))
    assert [m.value for m in history] == [float(i) for i in range(30_000)]


@both
def test_nan_and_infinities_survive(mlflow_client: MlflowClient, run: str) -> None:
    for key, value in (("nan", math.nan), ("up", math.inf), ("down", -math.inf)):
        mlflow_client.log_metric(run, key, value)
    metrics = mlflow_client.get_run(run).data.metrics
    assert math.isnan(metrics["nan"])
    assert math.isnan(mlflow_client.get_metric_history(run, "nan")[0].value)
    assert metrics["up"] >= GREATEST
    assert metrics["down"] <= -GREATEST


@both
@pytest.mark.parametrize("step", [0, -5, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_steps_are_64_bit_integers(mlflow_client: MlflowClient, run: str, step: int) -> None:
    mlflow_client.log_metric(run, "m", 1.5, step=step, timestamp=1_700_000_000_000)
    assert mlflow_client.get_metric_history(run, "m")[0].step == step


@both
@pytest.mark.parametrize("value", [5e-324, 0.1, 1 / 3, GREATEST, -0.0, 1e23])
def test_values_keep_every_bit(mlflow_client: MlflowClient, run: str, value: float) -> None:
    mlflow_client.log_metric(run, "m", value)
    held = mlflow_client.get_run(run).data.metrics["m"]
    assert held == value  # SQLite keeps no sign of zero, here as in MLflow's own server


def test_the_same_point_twice_is_one_point(mlflow_client: MlflowClient, run: str) -> None:
    for _ in range(2):
        mlflow_client.log_metric(run, "m", 1.0, timestamp=5, step=1)
        mlflow_client.log_batch(run, [Metric("n", 2.0, 6, 1), Metric("n", 2.0, 6, 1)])
    assert len(mlflow_client.get_metric_history(run, "m")) == 1
    assert len(mlflow_client.get_metric_history(run, "n")) == 1


@both
def test_params_are_strings_and_do_not_change(mlflow_client: MlflowClient, run: str, refused: Callable) -> None:
    mlflow_client.log_param(run, "depth", 3)
    mlflow_client.log_param(run, "depth", 3)
    message = refused("INVALID_PARAMETER_VALUE", mlflow_client.log_param, run, "depth", 4)
    assert "depth" in message
    assert mlflow_client.get_run(run).data.params == {"depth": "3"}


def test_a_param_keeps_its_text_as_it_was_given(mlflow_client: MlflowClient, run: str) -> None:
    given = {"int": "007", "float": "1e3", "bool": "true", "none": "None", "empty": "", "spaces": "  two  ", "json": '{"a": [1, 2.50]}'}
    mlflow_client.log_batch(run, params=[Param(key, value) for key, value in given.items()])
    assert mlflow_client.get_run(run).data.params == given


@pytest.mark.parametrize(("route", "field", "limit"), [("runs/log-parameter", "params", 6000), ("runs/set-tag", "tags", 8000)])
def test_long_values_are_kept_up_to_the_limit_then_cut(
    mlflow_client: MlflowClient, wire: Wire, run: str, route: str, field: str, limit: int
) -> None:
    assert wire.post(route, {"run_id": run, "key": "long", "value": "x" * limit}).status_code == 200
    assert wire.post(route, {"run_id": run, "key": "longer", "value": "x" * (limit + 1)}).status_code == 200
    stored = getattr(mlflow_client.get_run(run).data, field)
    assert (len(stored["long"]), len(stored["longer"])) == (limit, limit)


def test_tags_are_overwritten_and_deleted(mlflow_client: MlflowClient, run: str, refused: Callable) -> None:
    mlflow_client.set_tag(run, "state", "draft")
    mlflow_client.set_tag(run, "state", "final")
    assert mlflow_client.get_run(run).data.tags["state"] == "final"
    mlflow_client.delete_tag(run, "state")
    assert "state" not in mlflow_client.get_run(run).data.tags
    refused("RESOURCE_DOES_NOT_EXIST", mlflow_client.delete_tag, run, "state")


@both
def test_text_of_every_language_comes_back(mlflow_client: MlflowClient, run: str) -> None:
    note = "línea 1\nline 2\t\"quoted\" 'single' \\ %"
    mlflow_client.log_param(run, "größe", "høj 高い 🦊")
    mlflow_client.set_tag(run, "notiz", note)
    mlflow_client.log_metric(run, "учёт/потери 1", 0.5)
    data = mlflow_client.get_run(run).data
    assert (data.params["größe"], data.tags["notiz"], data.metrics["учёт/потери 1"]) == ("høj 高い 🦊", note, 0.5)


@pytest.mark.parametrize("key", ["../up", "/absolute", "a//b", "semi;colon", "", "a/../b", "."])
def test_keys_that_look_like_paths_out_are_refused(wire: Wire, run: str, key: str) -> None:
    for route, body in (
        ("runs/log-metric", {"key": key, "value": 1.0, "timestamp": 1, "step": 0}),
        ("runs/log-parameter", {"key": key, "value": "v"}),
        ("runs/set-tag", {"key": key, "value": "v"}),
        ("runs/log-batch", {"metrics": [{"key": key, "value": 1.0, "timestamp": 1, "step": 0}]}),
    ):
        answer = wire.post(route, {"run_id": run, **body})
        assert (answer.status_code, answer.json().get("error_code")) == (400, "INVALID_PARAMETER_VALUE"), (route, answer.text)


@both
def test_a_full_batch_is_kept_whole(mlflow_client: MlflowClient, run: str) -> None:
    metrics = [Metric(f"m{i % 8}", float(i), 1000 + i, i // 8) for i in range(800)]
    params, tags = [Param(f"p{i}", str(i)) for i in range(100)], [RunTag(f"t{i}", str(i)) for i in range(100)]
    mlflow_client.log_batch(run, metrics, params, tags)
    data = mlflow_client.get_run(run).data
    assert data.metrics == {f"m{k}": float(792 + k) for k in range(8)}
    assert data.params == {f"p{i}": str(i) for i in range(100)}
    assert data.tags["t99"] == "99"
    assert [m.value for m in mlflow_client.get_metric_history(run, "m0")] == [float(v) for v in range(0, 800, 8)]


def test_an_empty_batch_is_fine(mlflow_client: MlflowClient, run: str) -> None:
    mlflow_client.log_batch(run)


@pytest.mark.parametrize(("field", "count"), [("metrics", 1001), ("params", 101), ("tags", 101)])
def test_batches_have_limits(wire: Wire, run: str, field: str, count: int) -> None:
    entry = {"value": 1.0, "timestamp": 1, "step": 0} if field == "metrics" else {"value": "v"}
    answer = wire.post("runs/log-batch", {"run_id": run, field: [{"key": f"k{i}", **entry} for i in range(count)]})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@both
def test_a_batch_that_changes_a_param_is_refused_whole(mlflow_client: MlflowClient, run: str, refused: Callable) -> None:
    mlflow_client.log_param(run, "p", "1")
    refused("INVALID_PARAMETER_VALUE", mlflow_client.log_batch, run, [Metric("half", 1.0, 1, 0)], [Param("p", "2")], [RunTag("t", "1")])
    data = mlflow_client.get_run(run).data
    assert (data.params, data.metrics, "t" in data.tags) == ({"p": "1"}, {}, False)


def test_a_batch_with_one_bad_metric_is_refused_whole_and_names_it(wire: Wire, mlflow_client: MlflowClient, run: str) -> None:
    metrics = [{"key": f"m{i}", "value": float(i), "timestamp": 1, "step": 0} for i in range(1000)]
    metrics[617]["value"] = "many"
    answer = wire.post("runs/log-batch", {"run_id": run, "metrics": metrics})
    assert answer.status_code == 400
    assert "617" in answer.json()["message"] or "many" in answer.json()["message"]
    assert mlflow_client.get_run(run).data.metrics == {}


def test_asynchronous_logging_arrives(study: str, mlflow_client: MlflowClient) -> None:
    with mlflow.start_run() as run:
        for step in range(100):
            mlflow.log_metric("loss", 1 / (step + 1), step=step, synchronous=False)
        mlflow.log_params({"a": 1}, synchronous=False)
        mlflow.set_tags({"b": "2"}, synchronous=False)
        mlflow.flush_async_logging()
    history = mlflow_client.get_metric_history(run.info.run_id, "loss")
    assert sorted(m.step for m in history) == list(range(100))
    data = mlflow_client.get_run(run.info.run_id).data
    assert (data.params["a"], data.tags["b"]) == ("1", "2")


@both
def test_four_writers_lose_nothing(mlflow_client: MlflowClient, run: str) -> None:
    def write(writer: int) -> None:
        for step in range(25):
            mlflow_client.log_metric(run, "shared", float(writer), step=step, timestamp=1000 + step)
            mlflow_client.log_metric(run, f"own{writer}", float(step), step=step)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(mlflow_client.get_metric_history(run, "shared")) == 100
    assert all(mlflow_client.get_run(run).data.metrics[f"own{writer}"] == 24.0 for writer in range(4))


@both
def test_of_two_writers_of_one_param_one_is_refused(mlflow_client: MlflowClient, run: str) -> None:
    def write(value: int) -> bool:
        try:
            mlflow_client.log_param(run, "raced", value)
        except mlflow.MlflowException as error:
            assert error.error_code == "INVALID_PARAMETER_VALUE"  # noqa: PT017 - any of the racers may be the loser
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(write, range(8)))
    assert kept.count(True) == 1
    assert mlflow_client.get_run(run).data.params == {"raced": str(kept.index(True))}


@both
def test_writers_that_begin_one_experiment_together_share_it(server: Served, fresh: Callable[[str], str]) -> None:
    name, client = fresh("begun together"), MlflowClient()

    def begin(_: int) -> str:
        try:
            return str(client.create_experiment(name))
        except mlflow.MlflowException as error:
            assert error.error_code == "RESOURCE_ALREADY_EXISTS"  # noqa: PT017 - see above
            return str(client.get_experiment_by_name(name).experiment_id)

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(begin, range(6)))) == 1


@both
def test_dataset_inputs_are_kept_once(study: str, mlflow_client: MlflowClient) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0, 1, 0]})
    dataset = mlflow.data.from_pandas(frame, name="three-rows", targets="y")
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context="training", tags={"origin": "by hand"})
        mlflow.log_input(dataset, context="training", tags={"origin": "by hand"})
    (found,) = mlflow_client.get_run(run.info.run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("three-rows", dataset.digest)
    assert {t.key: t.value for t in found.tags} == {"mlflow.data.context": "training", "origin": "by hand"}
    assert json.loads(found.dataset.profile)["num_rows"] == 3
    assert "mlflow_colspec" in found.dataset.schema


def test_a_client_killed_in_the_middle_of_logging_leaves_a_readable_run(
    server: Served, mlflow_client: MlflowClient, experiment: str, tmp_path
) -> None:
    script = tmp_path / "logs.py"
    script.write_text(
        "import sys, mlflow\n"
        "from mlflow import MlflowClient\n"
        "c = MlflowClient(); r = c.create_run(sys.argv[1]).info.run_id\n"
        "for step in range(10**9):\n"
        "    c.log_metric(r, 'loss', 1.0, step=step, timestamp=step)\n"
        "    if step == 5: print(r, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, str(script), experiment], stdout=subprocess.PIPE, text=True)
    run = process.stdout.readline().strip()
    time.sleep(0.1)
    process.kill()
    process.wait()
    process.stdout.close()
    steps = [m.step for m in mlflow_client.get_metric_history(run, "loss")]
    assert len(steps) > 5
    assert steps == list(range(len(steps)))
    assert mlflow_client.get_run(run).info.status == "RUNNING"
    mlflow_client.set_terminated(run, "KILLED")
