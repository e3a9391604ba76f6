"""The ``mlflow`` command against ``rung up``, told where it is by the two variables alone."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

from tests.protocol.mlflow.conftest import Served

Mlflow = Callable[..., str]


@pytest.fixture
def command(server: Served) -> Mlflow:
    """Runs a command in this process and returns what it printed; it must end well."""

    from mlflow.cli import cli  # loads what warns; a test's warnings are not ours to change

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli, list(arguments))
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        return done.stdout

    return run


def test_experiments_are_made_found_renamed_and_put_aside(
    command: Mlflow, mlflow_client: MlflowClient, fresh: Callable[[str], str]
) -> None:
    name = fresh("by command")
    number = command("experiments", "create", "-n", name).rsplit(maxsplit=1)[-1]
    assert mlflow_client.get_experiment(number).name == name
    assert name in command("experiments", "search")
    command("experiments", "rename", "-x", number, "--new-name", name + " 2")
    assert f"{name} 2" in command("experiments", "get", "-x", number)
    command("experiments", "delete", "-x", number)
    assert name not in command("experiments", "search")
    assert name in command("experiments", "search", "--view", "deleted_only")
    command("experiments", "restore", "-x", number)
    assert mlflow_client.get_experiment(number).lifecycle_stage == "active"


def test_runs_are_listed_described_exported_and_put_aside(
    command: Mlflow, mlflow_client: MlflowClient, experiment: str, tmp_path: Path
) -> None:
    run = mlflow_client.create_run(experiment, run_name="the one").info.run_id
    mlflow_client.log_metric(run, "loss", 0.25)
    mlflow_client.log_param(run, "depth", 3)
    listed = command("runs", "list", "--experiment-id", experiment)
    assert run in listed
    assert "the one" in listed
    described = json.loads(command("runs", "describe", "--run-id", run))
    assert described["data"]["metrics"] == {"loss": 0.25}
    assert described["data"]["params"] == {"depth": "3"}
    (row,) = csv.DictReader(StringIO(command("experiments", "csv", "-x", experiment)))
    assert (row["run_id"], row["params.depth"], float(row["metrics.loss"])) == (run, "3", 0.25)
    command("runs", "delete", "--run-id", run)
    assert run not in command("runs", "list", "--experiment-id", experiment)
    command("runs", "restore", "--run-id", run)
    assert run in command("runs", "list", "--experiment-id", experiment)


def test_a_run_is_made_by_command(command: Mlflow, mlflow_client: MlflowClient, experiment: str) -> None:
    made = json.loads(
        command("runs", "create", "--experiment-id", experiment, "--run-name", "made", "--status", "FAILED", "--tags", "by=hand")
    )
    run = mlflow_client.get_run(made["run_id"])
    assert (run.info.run_name, run.info.status, run.data.tags["by"]) == ("made", "FAILED", "hand")


def test_artifacts_go_up_are_listed_and_come_down(command: Mlflow, run: str, tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    folder.mkdir()
    (folder / "größe a.txt").write_text("one")
    (tmp_path / "notes.txt").write_text("two")
    command("artifacts", "log-artifact", "-l", str(tmp_path / "notes.txt"), "-r", run, "-a", "texts")
    command("artifacts", "log-artifacts", "-l", str(folder), "-r", run, "-a", "plots")
    assert {item["path"] for item in json.loads(command("artifacts", "list", "-r", run))} == {"texts", "plots"}
    (listed,) = json.loads(command("artifacts", "list", "-r", run, "-a", "texts"))
    assert (listed["path"], int(listed["file_size"])) == ("texts/notes.txt", 3)
    command("artifacts", "download", "-r", run, "-d", str(tmp_path / "down"))
    assert (tmp_path / "down" / "plots" / "größe a.txt").read_text() == "one"
    assert (tmp_path / "down" / "texts" / "notes.txt").read_text() == "two"


def test_a_registered_model_predicts_by_command(server: Served, study: str, fresh: Callable[[str], str], tmp_path: Path) -> None:
    name = fresh("late")
    rows = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    model = LogisticRegression().fit(rows, [0, 0, 1, 1])
    mlflow.sklearn.log_model(model, name="model", registered_model_name=name, pip_requirements=[])
    MlflowClient().set_registered_model_alias(name, "champion", "1")
    (tmp_path / "rows.csv").write_text("x\n0.0\n3.0\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RUNG_")}
    arguments = [
        "models",
        "predict",
        "-m",
        f"models:/{name}@champion",
        "-i",
        "rows.csv",
        "-t",
        "csv",
        "-o",
        "out.json",
        "--env-manager",
        "local",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "out.json").read_text())["predictions"] == [0, 1]


def test_a_project_of_mlflow_runs_here(server: Served, mlflow_client: MlflowClient, study: str, tmp_path: Path) -> None:
    (tmp_path / "MLproject").write_text(
        "name: small\nentry_points:\n  main:\n    parameters:\n      depth: {type: int, default: 3}\n    command: 'python train.py {depth}'\n"
    )
    (tmp_path / "train.py").write_text(
        "import sys, mlflow\nwith mlflow.start_run():\n    mlflow.log_metric('twice', 2 * int(sys.argv[1]))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_EXPERIMENT_ID"}
    environment = {**environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    arguments = ["run", ".", "-P", "depth=5", "--env-manager", "local", "--experiment-name", study]
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (found,) = mlflow_client.search_runs([mlflow_client.get_experiment_by_name(study).experiment_id])
    assert (found.info.status, found.data.metrics, found.data.params["depth"]) == ("FINISHED", {"twice": 10.0}, "5")


def test_what_is_not_there_ends_with_mlflows_own_message(server: Served) -> None:
    from mlflow.cli import cli

    done = CliRunner().invoke(cli, ["runs", "describe", "--run-id", "0" * 32])
    assert done.exit_code != 0
    assert "RESOURCE_DOES_NOT_EXIST" in str(done.exception)
