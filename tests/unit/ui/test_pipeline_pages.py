"""The pages of pipelines: graphs that fold, conditions in words, logs made readable, forms that say what is wrong, lists that stay cheap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.app.local import LocalTransport
from rung.pipelines.records import Condition, ParamSpec, PipelineInfo, StepLog
from rung.pipelines.summaries import SummarisePipelines, SummariseRuns
from rung.ui.blocks import Charts, Table, Visit, Words
from rung.ui.charts.dag import DagNode, Progress, dag
from rung.ui.charts.layers import arranged
from rung.ui.logs import readable
from rung.ui.pages.graphs import graph, said
from rung.ui.pages.outputs import file_name, preview_of
from rung.ui.pages.pipeline_run import pipeline_run
from rung.ui.pages.pipelines import pipeline, pipelines
from rung.ui.pages.run_compare import run_compare
from rung.ui.pages.run_form import read
from rung.ui.pages.step import step
from tests.e2e.pipeline_seeding import LOG, NOW, PLAN, Seeder, large, spec, step_of, story

ABOVE = Condition(operator=">", source="score.0", path=("auc",), value=0.8)


@pytest.fixture
def seeder(transport: LocalTransport) -> Seeder:
    return Seeder(transport)


def test_conditions_are_said_in_words() -> None:
    assert said(ABOVE) == "score.auc > 0.8"
    assert said(Condition(operator="not", parts=(ABOVE,))) == "not (score.auc > 0.8)"
    assert said(Condition(operator="and", parts=(ABOVE, Condition(operator="true", source="a|b.1")))) == "score.auc > 0.8 and a or b.1"
    assert said(Condition(operator="==", source="a.1", parts=(Condition(operator="true", source="b.0"),))) == "a.1 == b"


def test_logs_are_shown_as_a_terminal_would_leave_them() -> None:
    assert readable("\x1b[1;31mred\x1b[0m\r\n10%\r50%\r100%\r\nnul \x00 bell \x07\x1b]0;title\x07") == "red\n100%\nnul \u2400 bell \u2407"
    assert readable("turned \u202e around") == "turned \ufffd around"


@given(st.text())
def test_no_control_character_is_left_in_a_log(text: str) -> None:
    assert not any(ord(letter) < 32 and letter not in "\n\t" for letter in readable(text))


def test_a_form_says_what_is_wrong_with_each_field() -> None:
    specs = (
        ParamSpec(name="rows", type="int", required=True, minimum=1),
        ParamSpec(name="rate", type="float", required=False, default=0.1, maximum=1, unit="share"),
        ParamSpec(name="model", type="str", required=False, default="tree", choices=("tree", "linear")),
        ParamSpec(name="fast", type="bool", required=False, default=False),
        ParamSpec(name="text", type="str", required=False, default=""),
        ParamSpec(name="ages", type="list[int]", required=False, default=[]),
    )
    info = PipelineInfo(name="p", target="m:p", doc="", params=specs, steps=(), code="", seen_at=NOW)
    assert read(info, {"rows": "3", "rate": "0.5", "model": "linear", "fast": "yes", "text": "5", "ages": "[1,2]"}) == (
        {"rows": 3, "rate": 0.5, "model": "linear", "fast": True, "text": "5", "ages": [1, 2]},
        {},
    )
    params, problems = read(info, {"rate": "2", "model": "forest", "fast": "perhaps", "ages": "[1,"})
    assert set(problems) == {"rows", "rate", "model", "fast", "ages"}
    assert problems["model"] == "It is one of tree, linear."
    assert read(info, {"rows": "1.5"})[1]["rows"] == "'1.5' is not a whole number."
    assert "at least 1" in read(info, {"rows": "0"})[1]["rows"]
    assert params["rate"] == 2.0


def test_groups_lie_inside_their_frames_and_nothing_overlaps() -> None:
    nodes = [
        DagNode(s.key, s.key, s.needs, "succeeded", "ok", "/x", "detail", progress=Progress(3, 2, 1, 1), within=s.within) for s in PLAN
    ]
    figure = dag("a plan", nodes)
    assert figure.svg.count('class="frame-box"') == 2
    assert figure.svg.count("<a ") == len(PLAN)
    found = arranged(
        {"a": (), "b": ("a",), "c": ("a", "b"), "d": ("c", "unknown", "d")}, dict.fromkeys("abcd", (100.0, 40.0)), (20.0, 30.0)
    )
    assert found.bends["a", "c"]
    assert found.places["d"][1] > found.places["c"][1] > found.places["b"][1] > found.places["a"][1]


def test_a_long_chain_is_laid_out_at_once() -> None:
    needs = {str(n): (str(n - 1),) if n else () for n in range(5000)}
    assert len(arranged(needs, dict.fromkeys(needs, (10.0, 10.0)), (1.0, 1.0)).places) == 5000


def test_large_plans_are_drawn_by_name_or_not_at_all(transport: LocalTransport) -> None:
    visit = Visit(transport, {}, {})
    by_name = graph(visit, "t", [spec(f"s{n}", step=f"stage_{n % 7}") for n in range(900)], (), "/x")
    assert isinstance(by_name[0], Charts)
    assert len(by_name[0].figures[0].rows) == 7
    none = graph(visit, "t", [spec(f"s{n}") for n in range(900)], (), "/x")
    assert not isinstance(none[0], Charts)


def test_a_folded_group_tells_the_states_of_its_steps(transport: LocalTransport, seeder: Seeder) -> None:
    run = story(seeder)["failed"]
    states = [step_of(run, s, n, "succeeded") for n, s in enumerate(PLAN)]
    (charts,) = graph(Visit(transport, {}, {}, {"fold": ("prepare",)}), "t", PLAN, states, "/x")
    rows = {row[0]: row[1] for row in charts.figures[0].rows}  # type: ignore[attr-defined]  # Charts
    assert rows["prepare"] == "4 succeeded 4 steps"
    assert "clean" not in rows


def test_every_page_of_a_run_is_made(transport: LocalTransport, seeder: Seeder) -> None:
    runs = story(seeder)
    assert "flights" in pipelines(Visit(transport, {}, {})).headline
    for state, run in runs.items():
        page = pipeline_run(Visit(transport, {"id": run.id}, {}))
        assert page.live == (state in {"running", "queued"})
        for key in ("load", "enrich", "train", "score") if state != "queued" else ():
            assert step(Visit(transport, {"id": run.id, "step": key}, {})).headline.startswith(key)
    compared = run_compare(Visit(transport, {}, {"before": "flights:1", "after": "flights:2"}))
    assert compared.headline == "flights:1 and flights:2: 1 parameter, 2 outputs, 0 metrics and 1 file of code differ."


def test_failed_steps_of_a_large_run_are_found_by_state(transport: LocalTransport, seeder: Seeder) -> None:
    run = large(seeder, "large", 700)
    page = pipeline_run(Visit(transport, {"id": run.id}, {"state": "cached"}))
    (steps,) = [block for block in page.blocks if isinstance(block, Table) and block.title == "Steps"]
    assert steps.rows
    assert all("cached" in str(row[1]) for row in steps.rows)


def test_lists_hold_what_they_show_and_no_plans(transport: LocalTransport, seeder: Seeder) -> None:
    story(seeder)
    (held,) = transport.call(SummarisePipelines())
    assert (held.name, held.counted, held.succeeded, held.failed, held.median_s) == ("flights", 4, 1, 1, 30.0)
    assert [run.number for run in held.recent] == [4, 3, 2, 1]
    page = transport.call(SummariseRuns(pipeline="flights", status="failed"))
    assert [run.failed_step for run in page.items] == ["score"]
    assert transport.call(SummarisePipelines(pipeline="nobody")) == ()


def test_a_pipeline_whose_plan_needs_a_parameter_says_so(transport: LocalTransport, seeder: Seeder) -> None:
    seeder.declare("late", (), "Train on all known by ``as_of``.")
    page = pipeline(Visit(transport, {"pipeline": "late"}, {}))
    said = [str(block.text) for block in page.still if isinstance(block, Words)]
    assert page.headline == "late: it has not run yet."
    assert said == ["Train on all known by <code>as_of</code>.", "Its plan depends on what has no default: model. Each run shows its own."]


def test_a_log_is_read_in_parts_that_cut_no_character(transport: LocalTransport, seeder: Seeder) -> None:
    run = story(seeder)["succeeded"]
    text, offset = "", 0
    while True:
        chunk = transport.call(StepLog(pipeline_run=run.id, step="load", offset=offset, limit_bytes=7))
        text, offset = text + chunk.text, chunk.next_offset
        if chunk.finished:
            break
    assert text == LOG
    assert chunk.size_bytes == len(LOG.encode())


def test_outputs_are_shown_by_their_kind(transport: LocalTransport, seeder: Seeder) -> None:
    visit = Visit(transport, {}, {})
    metrics = seeder.artifact("m", "metrics", b'{"auc":0.5,"loss":{"$float":"nan"}}')
    assert preview_of(visit, metrics).content == (("auc", "0.5"), ("loss", "nan"))
    html = seeder.artifact("r", "report", b"<h1>x</h1>", title="t", format="html")
    assert (preview_of(visit, html).kind, file_name(html)) == ("page", "r.html")
    assert preview_of(visit, seeder.artifact("b", "bytes", b"\x00\x01")).kind == "none"
    assert preview_of(visit, seeder.artifact("a", "numpy", b"no array")).kind == "none"
    assert preview_of(visit, seeder.artifact("i", "items", b"{")).note == "This list cannot be read."
    assert file_name(seeder.artifact("f", "file", b"x", name="../../etc/passwd")) == "passwd"
    gone = metrics.__class__(name="g", kind="json", digest="blake3:" + "0" * 64, size_bytes=9000)
    assert preview_of(visit, gone).note == "These bytes are not there any more."
