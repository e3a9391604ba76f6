"""Graphs: what happens to rows before, beside and after a deployment's model, in the process that answers.

A graph is data: nodes of known kinds with checked settings, no code of anybody's. It is checked when it is set, so that
what answers later cannot meet an unknown node, a cycle, a missing column or a model that is not there.
"""

from rung.serving.graph.family import GRAPH_NODES
from rung.serving.graph.making import build
from rung.serving.graph.running import OWN, Graph, Scored

__all__ = ["GRAPH_NODES", "OWN", "Graph", "Scored", "build"]
