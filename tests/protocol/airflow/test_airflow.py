"""An exported DAG file is read by Airflow itself, and its tasks really run their steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from rung.client.client import connect
from rung.core.errors import Conflict, Invalid, NotFound
from rung.core.settings import load_settings
from rung.pipelines.project import load_project
from rung.protocols.exchange.writing import written

AIRFLOW = os.environ.get("RUNG_TEST_AIRFLOW", "")  # a Python that has Airflow
PROJECT = '''
from pathlib import Path
import rung
from rung import pipeline, step
from rung.pipelines.branching import when

@step(cache=False)
def first(n: int) -> int:
    """Counts."""
    with Path("calls.txt").open("a") as file:
        file.write("first ")
    return n + 1

@step(cache=False)
def second(value: int, word: str) -> str:
    if Path("broken").exists():
        raise ValueError("broken")
    with Path("calls.txt").open("a") as file:
        file.write("second ")
    return word * value

@step
def rare(value: int) -> int:
    return value

@step(cache=False, run="always")
def swept() -> str:
    return "swept"

@pipeline
def flow(n: int, word: str = "it's; $(x)") -> str:
    """Two steps, a branch, and one that always runs."""
    value = first(n)
    with when(value > 100):
        rare(value)
    answer = second(value, word)
    swept()
    return answer
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pipelines.py").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "pipelines", raising=False)
    return tmp_path


def _dag(folder: Path) -> str:
    project = load_project(load_settings(folder, environ={}))
    given = {"image": "x", "seed": 0, "cron": "0 6 * * 1"}
    return written("airflow", project, project.pipeline("flow"), {"n": "2"}, given)[0]


def _step(folder: Path, step: str, key: str = "k", *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rung.cli.main", "step", "run", "flow", step, "--run", key, "-p", "n=2", "--json", *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_steps_asked_for_one_by_one_make_one_run_of_rung(folder: Path) -> None:
    for step, status in (("first", "succeeded"), ("rare", "skipped"), ("second", "succeeded")):
        done = _step(folder, step)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["status"] == status
        with connect(folder=folder) as client:
            assert client.pipelines.get("flow:1").run.status == "running"
    assert _step(folder, "second").returncode == 0  # asked again: it is not executed again
    assert (folder / "calls.txt").read_text() == "first second "
    assert _step(folder, "swept").returncode == 0
    with connect(folder=folder) as client:
        detail = client.pipelines.get("flow:1")
        assert detail.run.status == "succeeded"
        assert client.pipelines.output("flow:1") == "it's; $(x)" * 3
        assert len(client.pipelines.runs("flow").items) == 1
        assert client.tracking.get(str(detail.run.run_id)).status == "succeeded"


def test_a_step_that_failed_is_executed_when_it_is_asked_for_again(folder: Path) -> None:
    assert _step(folder, "first").returncode == 0
    (folder / "broken").touch()
    done = _step(folder, "second")
    assert done.returncode == 1
    assert "ValueError: broken" in done.stderr
    (folder / "broken").unlink()
    assert _step(folder, "second").returncode == 0
    assert (folder / "calls.txt").read_text() == "first second "


def test_a_step_before_those_it_needs_is_a_conflict(folder: Path) -> None:
    done = _step(folder, "second")
    assert done.returncode == 1
    assert "waits for steps that have not ended" in done.stderr
    assert _step(folder, "third").returncode == 4


def test_the_file_is_plain_python_with_a_task_a_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's names are stood in for here; the test below reads the file with Airflow."""
    made: dict[str, dict] = {}
    edges: list[tuple[str, str]] = []

    class Operator:
        def __init__(self, **options) -> None:
            self.options = options
            made[options["task_id"]] = options

        def __rshift__(self, other: Operator) -> None:
            edges.append((self.options["task_id"], other.options["task_id"]))

    class Dag:
        def __init__(self, **options) -> None:
            self.options = options

        def __enter__(self) -> Dag:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    names = {
        "airflow": {"DAG": Dag}, "airflow.models": {}, "airflow.models.param": {"Param": lambda *a, **o: (a, o)}, "airflow.operators": {},
        "airflow.operators.python": {"PythonOperator": Operator},
        "airflow.exceptions": {"AirflowException": RuntimeError, "AirflowSkipException": KeyError},
    }  # fmt: skip
    for name, held in names.items():
        module = types.ModuleType(name)
        vars(module).update(held)
        monkeypatch.setitem(sys.modules, name, module)
    scope: dict = {}
    exec(compile(_dag(folder), "dag.py", "exec"), scope)
    assert set(edges) == {("first", "rare"), ("first", "second"), *((name, "swept") for name in ("first", "rare", "second"))}
    assert {name: options["trigger_rule"] for name, options in made.items()} == {
        "first": "none_failed", "rare": "none_failed", "second": "none_failed", "swept": "all_done",
    }  # fmt: skip
    assert scope["dag"].options["params"] == {
        "n": ((2,), {"type": "integer"}), "word": (("it's; $(x)",), {"type": "string"}),
    }  # fmt: skip
    scope["RUNG"][:] = [sys.executable, "-m", "rung.cli.main"]
    given = {"run_id": "manual__2026-01-01T00:00:00+00:00", "params": {"n": 2, "word": "it's; $(x)"}}
    assert scope["run_step"](step="first", **given) == "succeeded"
    with pytest.raises(KeyError):
        scope["run_step"](step="rare", **given)
    assert scope["run_step"](step="second", **given) == "succeeded"


@pytest.mark.slow
@pytest.mark.skipif(not AIRFLOW, reason="RUNG_TEST_AIRFLOW names no Python with Airflow")
def test_airflow_reads_the_file_without_a_complaint(folder: Path, tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "flow.py").write_text(_dag(folder))
    script = (
        "from airflow.models import DagBag; import json, sys\n"
        "bag = DagBag(sys.argv[1], include_examples=False)\n"
        "assert not bag.import_errors, bag.import_errors\n"
        "dag = bag.dags['flow']\n"
        "print(json.dumps({t.task_id: [sorted(t.downstream_task_ids), str(t.trigger_rule)] for t in dag.tasks}))\n"
    )
    environ = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__UNIT_TEST_MODE": "True"}
    done = subprocess.run(
        [AIRFLOW, "-W", "ignore", "-c", script, str(dags)], env=environ, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) == {
        "first": [["rare", "second", "swept"], "none_failed"], "rare": [["swept"], "none_failed"],
        "second": [["swept"], "none_failed"], "swept": [[], "all_done"],
    }  # fmt: skip


def test_a_schedule_needs_a_value_for_every_parameter(folder: Path) -> None:
    project = load_project(load_settings(folder, environ={}))
    with pytest.raises(Invalid, match="A schedule cannot give a value for n"):
        written("airflow", project, project.pipeline("flow"), {}, {"image": "x", "seed": 0, "cron": "@daily"})


def test_other_parameters_under_one_key_are_a_conflict(folder: Path) -> None:
    from rung.client.stepping import run_step

    with connect(folder=folder) as client:
        run_step(client.transport, "flow", "first", "k", {"n": 2})
        with pytest.raises(Conflict, match="has the parameters n"):
            run_step(client.transport, "flow", "second", "k", {"n": 2, "word": "x"})
        with pytest.raises(NotFound, match="no step 'third'"):
            run_step(client.transport, "flow", "third", "k", {"n": 2})
