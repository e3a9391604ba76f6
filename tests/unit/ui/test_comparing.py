"""Five hundred runs side by side, and charts of many runs."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from rung.app.local import LocalTransport
from rung.tracking.records import LogBatch, MetricPoint, RunContext, StartRun
from rung.ui.blocks import Charts, Table, Visit
from rung.ui.charts.parallel import Axis, Mark, parallel_chart, scatter_chart
from rung.ui.pages.compare import compare
from rung.ui.pages.curves import curves

EVIL = '<script>alert("&")</script>'


@pytest.fixture
def many(transport: LocalTransport) -> list[str]:
    """Runs whose score grows with ``depth``; every second one has another commit and a curve of three points."""
    made = []
    for n in range(500):
        run = transport.call(
            StartRun(experiment="sweep", params={"depth": n % 9, "kind": EVIL}, context=RunContext(git_commit=f"{n % 2:040x}"))
        )
        steps = range(3) if n % 2 else range(1)
        points = tuple(MetricPoint(key="auc", value=0.5 + (n % 9) / 20 + step / 1000, step=step) for step in steps)
        transport.call(LogBatch(run=run.id, metrics=points))
        made.append(run.id)
    return made


def test_five_hundred_runs_are_compared_in_one_page(transport: LocalTransport, many: list[str]) -> None:
    page = compare(Visit(transport, {}, {"experiment": "1"}, {"experiment": ("1",)}))
    assert page.headline == "500 runs compared: 1 param and 1 metric differ."
    charts = [figure for block in page.blocks if isinstance(block, Charts) for figure in block.figures]
    assert [len(figure.rows) for figure in charts] == [500, 500]
    assert charts[0].svg.count("<polyline") == 500
    tables = {block.title.partition(" with ")[0]: block for block in page.blocks if isinstance(block, Table)}
    assert tables["Which params go along"].rows[0][0] == "depth"
    assert [row[2] for row in tables["Code, libraries and data"].rows] == ["250", "250"]
    lines = curves(Visit(transport, {}, {"runs": ",".join(many), "key": "auc"}, {})).data["series"]
    assert len(lines) == 500
    assert sum(line["total"] for line in lines) == 1000


def test_curves_of_groups_are_means_with_their_spread(transport: LocalTransport, many: list[str]) -> None:
    lines = curves(Visit(transport, {}, {"runs": ",".join(many), "key": "auc", "group": "depth"}, {})).data["series"]
    assert [line["name"] for line in lines] == [f"depth={n}" for n in range(9)]
    assert lines[4]["values"] == pytest.approx([0.7, 0.701, 0.702])
    assert lines[4]["low"] == pytest.approx(lines[4]["values"])


def test_charts_of_runs_escape_their_names_and_leave_gaps() -> None:
    axes = [Axis(EVIL, [1, 2, None]), Axis("kind", ["a", EVIL, "b"]), Axis("auc", [0.5, float("nan"), 0.7])]
    marks = [Mark(EVIL, "/runs/1"), Mark("two", "/runs/2"), Mark("three", "/runs/3")]
    drawn = parallel_chart("t", axes, marks).svg
    assert "<script" not in drawn
    assert [len(line.attrib["points"].split()) for line in ET.fromstring(drawn).iter("polyline")] == [3, 2, 2]
    dots = ET.fromstring(scatter_chart("t", axes[0], axes[2], axes[1], marks).svg)
    assert len(list(dots.iter("circle"))) == 1
