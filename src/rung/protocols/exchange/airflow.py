"""Airflow: a DAG file, plain Python for Airflow 2.9 and 3, whose tasks ask Rung for one step each.

Rung keeps cache, retries, outputs and lineage; Airflow decides when and in which order. Steps of one run take turns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rung.core.errors import Invalid
from rung.core.records import replaced
from rung.pipelines.authoring import Pipeline
from rung.pipelines.describing import described
from rung.pipelines.records import ParamSpec
from rung.pipelines.tracing import Plan

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}
_FILE = '''"""Pipeline {name} of Rung. Made by `rung export pipeline {name} --to airflow`."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timezone

try:  # Airflow 3
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.models.param import Param
    from airflow.operators.python import PythonOperator
from airflow.exceptions import AirflowException, AirflowSkipException

RUNG = ["rung"]  # the command; its settings (RUNG_URL, RUNG_TOKEN, ...) come from the worker's environment
FOLDER = {folder!r}  # of the project, on the workers


def run_step(step, run_id, params, **_):
    """Have Rung execute one step of the run that bears this DAG run's id."""
    command = [*RUNG, "step", "run", {name!r}, step, "--run", run_id, "--seed", "{seed}", "--scheduler", "airflow", "--json"]
    for key, value in params.items():
        if value is not None:
            command += ["-p", key + "=" + (value if isinstance(value, str) else json.dumps(value))]
    done = subprocess.run(command, cwd=FOLDER or None, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    if done.returncode:
        raise AirflowException("Step " + step + " of pipeline {name} failed with exit code " + str(done.returncode))
    status = json.loads(done.stdout)["status"]
    if status == "skipped":
        raise AirflowSkipException("Its condition does not hold.")
    return status


with DAG(
    dag_id={dag!r},
    description={doc!r},
    schedule={cron!r},
    start_date=datetime(2024, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_tasks=1,  # steps of one run take turns
    tags=["rung"],
    params={{{params}
    }},
) as dag:
    steps = {{
        task: PythonOperator(
            task_id=task, python_callable=run_step, trigger_rule=rule, op_kwargs={{"step": step}}, doc_md=doc
        )
        for task, step, rule, doc in [{tasks}
        ]
    }}
    for earlier, later in [{edges}
    ]:
        steps[earlier] >> steps[later]
'''


def dag_source(
    pipeline: Pipeline[..., Any], plan: Plan, given: Mapping[str, Any], *, folder: str, cron: str | None = None, seed: int = 0
) -> str:
    """The text of a DAG file; ``given`` replaces defaults. Raises Invalid for a schedule without a value it needs."""
    from datetime import UTC, datetime  # noqa: PLC0415 - the instant is not used, a description wants one

    info = described(pipeline, code="", now=datetime(2000, 1, 1, tzinfo=UTC))
    missing = [p.name for p in info.params if p.required and p.name not in given]
    if cron and missing:
        raise Invalid(
            f"A schedule cannot give a value for {', '.join(missing)}.", code="exchange.needs_value", hint=f"Pass -p {missing[0]}=…."
        )
    names = _task_ids(list(plan.nodes))
    specs = plan.specs()
    ordinary = [spec.key for spec in specs if spec.options.run == "on_success"]
    rules = {"on_success": "none_failed", "always": "all_done", "on_failure": "one_failed"}
    tasks = [(names[s.key], s.key, rules[s.options.run], s.doc) for s in specs]
    edges = [(names[need], names[s.key]) for s in specs for need in (s.needs or (ordinary if s.options.run != "on_success" else ()))]
    return _FILE.format(
        name=pipeline.name, dag=re.sub(r"[^A-Za-z0-9_.-]", "_", pipeline.name), doc=info.doc.partition("\n")[0][:500], cron=cron,
        folder=folder, seed=seed, params="".join(f"\n        {p.name!r}: {_param(p, given)}," for p in info.params),
        tasks="".join(f"\n            {task!r}," for task in tasks), edges="".join(f"\n        {edge!r}," for edge in edges),
    )  # fmt: skip


def _param(spec: ParamSpec, given: Mapping[str, Any]) -> str:
    if spec.name in given:
        spec = replaced(spec, default=given[spec.name], required=False)
    kind = _TYPES.get(re.split(r"[\[ |]", spec.type)[0])
    plain = spec.default is None or isinstance(spec.default, (str, int, float, bool, list, dict))
    options = [] if spec.required or not plain else [repr(json.loads(json.dumps(spec.default)))]
    if kind is not None:
        options.append(f"type={kind!r}" if spec.required or spec.default is not None else f"type=['null', {kind!r}]")
    for word, value in (("minimum", spec.minimum), ("maximum", spec.maximum)):
        if value is not None:
            options.append(f"{word}={value!r}")
    if spec.choices:
        options.append(f"enum={list(spec.choices)!r}")
    text = f"{spec.doc} [{spec.unit}]" if spec.unit else spec.doc
    return f"Param({', '.join([*options, *([f'description={text!r}'] if text else [])])})"


def _task_ids(keys: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in keys:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", key)[:200]
        free, number = name, 2
        while free in found.values():
            free, number = f"{name}_{number}", number + 1
        found[key] = free
    return found
