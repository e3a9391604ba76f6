"""A deployment's page draws its graph and says which options somebody set."""

from __future__ import annotations

from datetime import UTC, datetime

from rung.serving.node_records import InferenceNode, NodeState, ServedRevision
from rung.serving.options import DeploymentOptions, GraphNode, GraphOptions, LimitOptions
from rung.ui.blocks import Charts, Table
from rung.ui.pages.answering_blocks import answering
from rung.ui.pages.release_blocks import nodes


def test_a_deployment_as_it_comes_has_nothing_to_add() -> None:
    assert answering(DeploymentOptions()) == []


def test_options_that_somebody_set_are_told_by_their_paths() -> None:
    (table,) = answering(DeploymentOptions(limits=LimitOptions(requests_per_s=100.0, burst=20)))
    assert isinstance(table, Table)
    assert [row[:3] for row in table.rows] == [
        ("<code>limits.requests_per_s</code>", "100.0", "0.0"),
        ("<code>limits.burst</code>", "20", "0"),
    ]


def test_a_graph_is_drawn_with_every_node_and_a_way_to_the_versions_it_names() -> None:
    nodes = (
        GraphNode(name="own", kind="model"),
        GraphNode(name="before", kind="model", inputs=("request",), settings={"model": "churn:1"}),
        GraphNode(name="both", kind="ensemble", inputs=("own", "before")),
    )
    (charts,) = answering(DeploymentOptions(graph=GraphOptions(nodes=nodes)))
    assert isinstance(charts, Charts)
    (figure,) = charts.figures
    assert [row[0] for row in figure.rows] == ["request", "own", "before", "both"]
    assert figure.rows[0][1] == "what callers send what the version takes"
    assert figure.rows[3][2] == "own, before"
    assert 'href="/models/churn/1"' in figure.svg


def test_nodes_are_told_by_whether_they_have_the_revision_in_force() -> None:
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)

    def node(name: str, revision: int, *, silent: bool = False) -> InferenceNode:
        serves = (ServedRevision(deployment="churn", revision=revision, since=at),)
        state = NodeState(id="0" * 32, name=name, rung="1", started_at=at, serves=serves, waiting_bytes=2048, lag_s=3.0)
        return InferenceNode(state=state, seen_at=at, silent=silent)

    table = nodes((node("edge-1", 7), node("edge-2", 6), node("edge-3", 7, silent=True)), "churn", 7)
    assert [[str(cell) for cell in row][:1] for row in table.rows] == [["edge-1"], ["edge-2"], ["edge-3"]]
    said = [" ".join(str(cell) for cell in row) for row in table.rows]
    assert ["current" in said[0], "behind" in said[1], "silent" in said[2]] == [True] * 3
    assert "2.0 KiB" in said[0]
