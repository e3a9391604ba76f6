"""Charts: what they draw, what they say, and that they escape."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rung.ui.charts import svg
from rung.ui.charts.bars import bar_chart, histogram, waterfall
from rung.ui.charts.dag import NODE_HEIGHT, NODE_WIDTH, DagNode, dag, layout
from rung.ui.charts.grids import confusion_matrix, heat_map
from rung.ui.charts.ladder import ladder
from rung.ui.charts.line import Series, line_chart, sparkline, thinned
from rung.ui.charts.svg import Figure
from rung.ui.charts.time import Bar, Span, gantt

EVIL = '<script>alert("&")</script>'
FIGURES = {
    "line": line_chart(
        EVIL,
        [Series(EVIL, ((0, 1), (1, float("nan")), (2, 3)), band=((0, 0.5, 1.5), (2, 2.5, 3.5)))],
        limits=[(2, EVIL)],
        annotations=[(1, EVIL)],
    ),
    "line of time": line_chart("t", [Series("a", ((0, 1), (86400 * 30, 2)))], time=True, immature_from=86400 * 20),
    "line of nothing": line_chart("t", [Series("a", ())]),
    "line of one point": line_chart("t", [Series("a", ((3, 5),))]),
    "bars": bar_chart(EVIL, [(EVIL, 3), ("minus", -2), ("nan", float("nan"))], limits=[(1, EVIL)]),
    "no bars": bar_chart("t", []),
    "histogram": histogram(EVIL, [0, 1, 2], [3, 4], x_label=EVIL),
    "constant histogram": histogram("t", [1, 1], [3]),
    "waterfall": waterfall(EVIL, [(EVIL, 10), ("cost", -4)], "net"),
    "heat map": heat_map(EVIL, [EVIL], ["w1", "w2"], [[0.1, None]], marked=[(0, 0)]),
    "confusion": confusion_matrix(EVIL, [EVIL, "no"], [[3, 1], [0, 4]]),
    "gantt": gantt(EVIL, [Bar(EVIL, 0, 1.5, "succeeded", "ok")]),
    "dag": dag(EVIL, [DagNode("a", EVIL), DagNode("b", "b", ("a",), "failed", "bad", "/x?a=1&b=2")]),
    "ladder": ladder(EVIL, base=0, top=4, level=1, reached=1.4, target=3),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_chart_is_well_formed_labelled_and_escaped(name: str) -> None:
    figure: Figure = FIGURES[name]
    root = ET.fromstring(str(figure.svg))
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert "<script" not in str(figure.svg)
    assert not any("style" in node.attrib or any(key.startswith("on") for key in node.attrib) for node in root.iter())


@pytest.mark.parametrize("name", FIGURES)
def test_every_chart_says_the_same_in_a_table(name: str) -> None:
    figure = FIGURES[name]
    assert all(len(row) == len(figure.columns) for row in figure.rows)
    assert figure.rows or name in {"line of nothing", "no bars"}


def test_a_waterfall_ends_at_the_sum_of_its_parts() -> None:
    assert waterfall("t", [("gross", 10), ("cost", -4)], "net").rows[-1] == ("net", "6")


def test_ticks_are_round_and_hold_the_values() -> None:
    assert svg.ticks(0, 97) == [0, 25, 50, 75, 100]
    assert svg.ticks(0.61, 0.74) == [0.6, 0.65, 0.7, 0.75]
    assert svg.ticks(5, 5)[0] <= 5 <= svg.ticks(5, 5)[-1]


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
@example(-683582087.056236, 1e-06)
def test_ticks_always_reach_over_both_ends(low: float, span: float) -> None:
    marks = svg.ticks(low, low + span)
    assert marks[0] <= low + span * 1e-6
    assert marks[-1] >= low + span - span * 1e-6
    assert 2 <= len(marks) <= 12


def test_thinning_keeps_the_extremes() -> None:
    points = [(float(x), float((x * 7919) % 1000)) for x in range(5000)]
    points[1234] = (1234.0, 9999.0)
    kept = thinned(points, 200)
    assert len(kept) <= 200
    assert (1234.0, 9999.0) in kept
    assert kept == sorted(kept)


def test_a_sparkline_needs_two_values() -> None:
    assert sparkline([1.0], "one") == ""
    assert "polyline" in sparkline([1.0, 2.0], "two")


def test_a_step_lies_below_everything_it_needs() -> None:
    places = layout({"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("a", "d")})
    assert places["a"][1] < places["b"][1] == places["c"][1] < places["d"][1] < places["e"][1]


def test_a_source_stands_next_to_its_first_consumer() -> None:
    places = layout({"a": (), "b": ("a",), "lone": (), "c": ("b", "lone")})
    assert places["lone"][1] == places["b"][1]


def test_a_chain_is_drawn_straight() -> None:
    places = layout({"a": (), "b": ("a",), "c": ("b",)})
    assert len({x for x, _ in places.values()}) == 1


@given(st.lists(st.sets(st.integers(0, 29), max_size=4), min_size=1, max_size=30))
def test_no_two_steps_overlap_and_the_layout_is_the_same_each_time(wished: list[set[int]]) -> None:
    needs = {str(node): tuple(str(other) for other in sorted(before) if other < node) for node, before in enumerate(wished)}
    places = layout(needs)
    assert places == layout(needs)
    boxes = list(places.values())
    for index, (x, y) in enumerate(boxes):
        assert x >= 0
        assert y >= 0
        assert not any(abs(x - a) < NODE_WIDTH - 0.01 and abs(y - b) < NODE_HEIGHT for a, b in boxes[index + 1 :])


def test_a_cycle_is_drawn_rather_than_hung_on() -> None:
    assert set(layout({"a": ("b",), "b": ("a",)})) == {"a", "b"}


def test_the_parts_of_a_map_are_batches_and_those_of_a_step_tries() -> None:
    parts = (Span(0, 1, "failed", "bad"), Span(1, 2, "succeeded", "ok"))
    assert "2 tries" in gantt("g", [Bar("one", 0, 2, "succeeded", "ok", tries=parts)]).svg
    assert "2 batches" in gantt("g", [Bar("one", 0, 2, "succeeded", "ok", tries=parts, called="batches")]).svg


def test_words_at_marks_close_by_stand_one_below_the_other() -> None:
    marks = [(10.0, "promote"), (11.0, "promote"), (12.0, "roll back"), (13.0, "canary"), (14.0, "left to its line"), (90.0, "later")]
    root = ET.fromstring(str(line_chart("t", [Series("a", ((0, 1), (100, 2)))], annotations=marks).svg))
    told = {(float(node.get("x", 0)), float(node.get("y", 0))): node.text for node in root.iter() if node.get("class") == "annotation-text"}
    rows = [y for _, y in told]
    assert list(told.values()) == ["promote", "promote", "roll back", "canary", "later"]
    assert (len(set(rows[:4])), rows[0] == rows[4]) == (4, True)
    assert [node[0].text for node in root.iter() if node.get("class") == "annotation"] == [words for _, words in marks]


def test_between_whole_numbers_there_is_no_tick() -> None:
    def told(*xs: float) -> list[str | None]:
        chart = line_chart("t", [Series("a", tuple((x, x) for x in xs))], span=(0, 40))
        ticks = [node for node in ET.fromstring(str(chart.svg)).iter() if node.get("class") == "tick"]
        base = max(float(node.get("y", 0)) for node in ticks)
        return [node.text for node in ticks if float(node.get("y", 0)) == base]

    assert told(1, 2, 3) == ["1", "2", "3"]
    assert told(1, 2.5, 3) == ["1", "1.5", "2", "2.5", "3"]
