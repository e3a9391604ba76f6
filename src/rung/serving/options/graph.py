"""Options of a deployment's graph: what happens to rows before, beside and after its model."""

from __future__ import annotations

from typing import Any

from rung.core.records import Key, Line, Record


class GraphInput(Record):
    """A column that callers of a graph send; ``dtype`` in the words of datasets."""

    name: Key
    dtype: Line = "Float64"
    nullable: bool = False
    optional: bool = False


class GraphNode(Record):
    """One node: a member of the family of graph nodes, where its rows come from, and its own settings.

    Without ``inputs`` it reads from the node before it, the first one from the request.
    """

    name: Key
    kind: Key
    inputs: tuple[Line, ...] = ()
    settings: dict[str, Any] = {}


class GraphOptions(Record):
    """Nodes in order; the last one's answer is the deployment's. Without ``inputs`` callers send what its version takes."""

    nodes: tuple[GraphNode, ...] = ()
    inputs: tuple[GraphInput, ...] = ()
