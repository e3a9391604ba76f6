"""Records and requests of graphs."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from rung.core.records import Line, Name, Record, Text
from rung.core.requests import Effect, Request
from rung.serving.options import GraphOptions
from rung.serving.records import Revision


class NodeTrial(Record):
    """What one node gave for a row: its columns that are new, its score (or scores by class), and the time it took with those it asked."""

    node: Line
    kind: Line
    score: Any = None
    columns: dict[str, Any] = {}
    us: float = 0.0


class GraphTrial(Record):
    """What a graph answers for a row, with each node that was asked; those that were not are not there."""

    score: Any
    flags: tuple[Line, ...]
    columns: dict[str, Any]
    nodes: tuple[NodeTrial, ...]


class SetGraph(Request[Revision]):
    """Give a deployment a graph, or take it away (no nodes). It is checked and frozen: aliases become numbers, profiles are read now."""

    operation = "serving.set_graph"
    permission = "deployment:deploy"
    effect: ClassVar[Effect] = "work"
    deployment: Name
    graph: GraphOptions = GraphOptions()
    reason: Text = ""


class TryGraph(Request[GraphTrial]):
    """Answer one row by a deployment's graph, or by one that is not set yet, and tell what each node gave. Nothing is logged."""

    operation = "serving.try_graph"
    permission = "prediction:predict"
    effect: ClassVar[Effect] = "work"
    audited: ClassVar[bool] = False
    deployment: Name
    row: Annotated[dict[str, Any], Meta(max_length=10_000)]
    graph: GraphOptions | None = None
