"""Exported pipelines under Kubeflow Pipelines' own parser and local runner give what Rung's engine gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rung.core.errors import Invalid
from rung.core.settings import load_settings
from rung.pipelines.project import load_project
from rung.protocols.exchange.kfp import pipeline_spec
from rung.protocols.exchange.plans import exported_plan
from rung.protocols.exchange.writing import written
from tests.protocol.kfp.peer import ROOT, needs_kfp, parsed, ran

GIVEN = {"image": "example/image:1", "seed": 0, "embed_code": False}
PROJECT = '''
import random
import polars as pl
import rung
from rung import pipeline, step
from rung.pipelines.branching import when

@step
def rows(n: int, loud: bool) -> tuple[pl.DataFrame, dict]:
    return pl.DataFrame({"x": list(range(n))}), {"n": n, "loud": loud, "sizes": [1, 2, 3]}

@step(retries=2, cpus=0.5, memory="512MiB")
def squared(x: int, by: int) -> int:
    return x * x * by

@step
def doubled(value: int) -> int:
    return 2 * value

@step(cache=False)
def told(values: list, frame: pl.DataFrame, words: dict) -> float:
    total = float(sum(values)) + frame["x"].sum() + random.random()
    rung.log_metrics({"total": total, "rows": frame.height})
    return total

@step
def many(facts: dict) -> str:
    rung.log_metric("many", 1.0)
    return f"many {facts['n']}"

@step
def few(facts: dict) -> str:
    rung.log_metric("few", 1.0)
    return "few"

@step
def shouted(text: str) -> str:
    return text.upper()

@step(run="always")
def swept(day: str) -> str:
    return day

@pipeline
def flow(n: int = 4, by: int = 3, loud: bool = False) -> float:
    """Maps, branches, several outputs."""
    frame, facts = rows(n, loud)
    results = doubled.map(squared.map(facts["sizes"], by=by))
    with when((facts["n"] > 3) & (facts["n"] < 100)):
        text = many(facts)
    shouted(text)
    with when(facts["n"] <= 3):
        few(facts)
    swept("today")
    return told(results, frame, {"a": [facts, 1], "b": (2, "{{$}}")})

@pipeline
def noted(day: str, n: int = 2) -> float:
    frame, facts = rows(len(day), True)
    return told([1, 2], frame, {})
'''


def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str = PROJECT) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pipelines.py").write_text(source)
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "pipelines", raising=False)  # of another test's project
    return folder


def _exported(folder: Path, name: str, out: Path, **params: str) -> dict:
    project = load_project(load_settings(folder, environ={}))
    text, _ = written("kfp", project, project.pipeline(name), params, GIVEN)
    out.write_text(text)
    return yaml.safe_load(text)


def _run_here(folder: Path, *arguments: str) -> dict[str, float]:
    """Metrics of ``rung run``."""
    script = (
        "import sys, rung, json\n"
        "client = rung.connect()\n"
        "params = dict(a.split('=') for a in sys.argv[2:])\n"
        "run = client.pipelines.run(sys.argv[1], params)\n"
        "assert run.status == 'succeeded', run.error\n"
        "print(json.dumps(client.tracking.get(run.run_id).metrics if run.run_id else {}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments], cwd=folder, capture_output=True, text=True, timeout=240, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("RUNG_")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_the_flights_training_under_kfp_has_the_metrics_of_rung_run(tmp_path: Path) -> None:
    needs_kfp()
    folder = tmp_path / "flights"
    shutil.copytree(ROOT / "examples" / "flights", folder, ignore=shutil.ignore_patterns("__pycache__", ".rung"))
    out = tmp_path / "learn.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "rung.cli.main", "export", "pipeline", "learn", "--to", "kfp", "-o", str(out)],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parsed(out)
    here = _run_here(folder, "learn", "days=21", "max_iter=20")
    assert set(here) == {"roc_auc", "log_loss", "brier"}
    assert ran(out, folder, {"days": 21, "max_iter": 20})["metrics"] == here


def test_maps_branches_and_several_outputs_give_what_the_engine_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_kfp()
    folder = _project(tmp_path, monkeypatch)
    _exported(folder, "flow", tmp_path / "flow.yaml")
    parsed(tmp_path / "flow.yaml")
    here = _run_here(folder, "flow", "n=5", "by=2")
    assert here.keys() == {"total", "rows", "many"}
    found = ran(tmp_path / "flow.yaml", folder, {"n": 5, "by": 2})
    assert found["metrics"] == here
    assert ["MANY 5"] in found["outputs"].values()
    assert found["outputs"]["swept"] == ["today"]


def test_a_word_that_kfp_does_not_know_is_refused_by_its_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_kfp()
    spec = _exported(_project(tmp_path, monkeypatch), "flow", tmp_path / "flow.yaml")
    spec["root"]["dag"]["tsks"] = {}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(AssertionError, match="tsks"):
        parsed(tmp_path / "bad.yaml")


def test_options_of_steps_become_words_of_kfp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = _exported(_project(tmp_path, monkeypatch), "flow", tmp_path / "flow.yaml")
    loop = spec["components"]["comp-each-squared"]["dag"]["tasks"]["squared"]
    assert loop["retryPolicy"] == {"maxRetryCount": 2, "backoffDuration": "0.5s", "backoffFactor": 2.0, "backoffMaxDuration": "300s"}
    assert spec["deploymentSpec"]["executors"]["exec-squared"]["container"]["resources"] == {
        "resourceCpuLimit": "0.5", "resourceCpuRequest": "0.5", "resourceMemoryLimit": "536870912", "resourceMemoryRequest": "536870912",
    }  # fmt: skip
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks["swept"]["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert "many" in tasks["swept"]["dependentTasks"]
    assert tasks["told"]["cachingOptions"] == {}
    assert tasks["rows"]["cachingOptions"] == {"enableCache": True}
    assert tasks["many"]["triggerPolicy"]["condition"] == (
        "(inputs.parameter_values['pipelinechannel--rows--truth_0'] == true && "
        "inputs.parameter_values['pipelinechannel--rows--truth_1'] == true)"
    )
    # a step that takes from a conditional one is skipped with it
    assert tasks["shouted"]["triggerPolicy"] == tasks["many"]["triggerPolicy"]
    assert spec["root"]["inputDefinitions"]["parameters"]["loud"] == {
        "parameterType": "BOOLEAN", "isOptional": True, "defaultValue": False,
    }  # fmt: skip
    assert spec["components"]["comp-rows"]["outputDefinitions"]["artifacts"]["output_0"]["artifactType"]["schemaTitle"] == "system.Dataset"


def test_embedded_code_needs_no_project_where_the_steps_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_kfp()
    folder = _project(tmp_path, monkeypatch)
    project = load_project(load_settings(folder, environ={}))
    text, _ = written("kfp", project, project.pipeline("noted"), {"day": "abc"}, {**GIVEN, "embed_code": True})
    (tmp_path / "noted.yaml").write_text(text)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert ran(tmp_path / "noted.yaml", elsewhere)["metrics"].keys() == {"total", "rows"}


def test_what_is_computed_of_a_parameter_is_fixed_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _project(tmp_path, monkeypatch)
    pipeline = load_project(load_settings(folder, environ={})).pipeline("noted")
    exported = exported_plan(pipeline, {"day": "2013-01-01"})
    assert exported.params == ()
    assert exported.notes[0] == "Parameter 'day' reaches no step as it is: what depends on it is fixed as of this export."


def test_a_condition_on_a_parameter_is_fixed_with_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
from rung import pipeline, step, when

@step
def one(n: int) -> int:
    return n

@pipeline
def judged(n: int = 1, line: float = 0.5):
    a = one(n)
    with when(a > line):
        one(2)
"""
    folder = _project(tmp_path, monkeypatch, source)
    pipeline = load_project(load_settings(folder, environ={})).pipeline("judged")
    exported = exported_plan(pipeline, {"line": 0.75})
    assert [param.name for param in exported.params] == ["n"]
    assert "'line' reaches no step" in exported.notes[0]
    assert '"value":0.75' in json.dumps(pipeline_spec(exported, image="i:1")).replace("\\", "")


STRANGE = """
import rung
from rung import pipeline, step
from rung.pipelines.branching import either, when, otherwise

@step
def one(n: int) -> int:
    return n

@pipeline
def alternative(n: int = 1) -> int:
    a = one(n)
    with when(a > 1) as big:
        b = one(2)
    with otherwise(big):
        c = one(3)
    return one(either(b, c))

@pipeline
def between(n: int = 1) -> int:
    a, b = one(n), one(2)
    with when(a > b):
        return one(3)

@pipeline
def odd(n: int = 1) -> int:
    return one(object())
"""


@pytest.mark.parametrize(("name", "said"), [("alternative", "either"), ("between", "condition"), ("odd", "a object")])
def test_what_kfp_has_no_word_for_is_refused_by_name(name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _project(tmp_path, monkeypatch, STRANGE)
    pipeline = load_project(load_settings(folder, environ={})).pipeline(name)
    with pytest.raises(Invalid, match=said) as told:
        pipeline_spec(exported_plan(pipeline, {}))
    assert told.value.code == "exchange.no_word"
