"""What the page of a run says of sweeps, inputs and single values."""

from __future__ import annotations

import json

from rung.app.local import LocalTransport
from rung.tracking.records import Input, LogBatch, MetricPoint, StartRun
from rung.ui.blocks import Part, Table, Visit
from rung.ui.pages.logged import input_row
from rung.ui.pages.run import run
from rung.ui.words import MISSING


def _table(page_blocks: object, title: str) -> Table:
    return next(block for block in page_blocks if isinstance(block, Table) and block.title.startswith(title))  # type: ignore[attr-defined]


def test_trials_of_a_sweep_come_best_first_with_what_differs(transport: LocalTransport) -> None:
    sweep = transport.call(StartRun(tags={"rung.sweep.metric": "auc", "rung.sweep.direction": "maximize"}))
    for depth, auc, state in ((1, 0.5, "succeeded"), (2, 0.9, "succeeded"), (3, 0.7, "pruned")):
        trial = transport.call(StartRun(parent=sweep.id, params={"depth": depth, "seed": 1}, tags={"rung.trial.state": state}))
        transport.call(LogBatch(run=trial.id, metrics=(MetricPoint(key="auc", value=auc), MetricPoint(key="a", value=1.0))))
    children = _table(run(Visit(transport, {"run": sweep.id}, {})).still, "Child runs")
    assert children.columns == ("child run", "state", "auc", "a", "depth", "started")
    assert [row[2] for row in children.rows] == ["0.9", "0.7", "0.5"]
    assert "pruned" in str(children.rows[1][1])


def test_a_metric_of_one_value_gets_no_chart(transport: LocalTransport) -> None:
    held = transport.call(StartRun())
    points = [MetricPoint(key="loss", value=1.0 / step, step=step) for step in (1, 2)]
    transport.call(LogBatch(run=held.id, metrics=(*points, MetricPoint(key="auc", value=0.7, step=2))))
    page = run(Visit(transport, {"run": held.id}, {}))
    (curves,) = [block for block in page.still if isinstance(block, Part) and block.template == "curves.html"]
    assert [curve["key"] for group in curves.values["groups"] for curve in group["curves"]] == ["loss"]
    assert [row[0] for row in _table(page.still, "Metrics").rows] == ["auc", "loss"]


def test_what_a_client_said_of_its_data_is_told_in_words() -> None:
    schema = json.dumps({"mlflow_colspec": [{"name": "a", "type": "double"}, {"name": "<b>", "type": "long"}]})
    held = Input(
        name="train", digest="ab12", source_type="code", source=json.dumps({"tags": {"mlflow.source.name": "train.py"}}), schema=schema,
        profile=json.dumps({"num_rows": 1426, "num_elements": 2852}), tags={"mlflow.data.context": "training"},
    )  # fmt: skip
    name, used, rows, columns, where, digest = input_row(held)
    assert (name, used, rows, where) == ("train", "training", "1,426", "code: train.py")
    assert str(columns) == '<span title="a, &lt;b&gt;">2</span>'
    assert str(digest) == "<code>ab12</code>"
    broken = Input(name="x", digest="d", source_type="http", source="[[[", schema="[1]", profile='{"num_rows": "<i>"}')
    assert input_row(broken)[1:5] == (MISSING, "<i>", MISSING, "http: [[[")
