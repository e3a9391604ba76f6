"""Writing lineage: the two lines a handler needs to say what came from what."""

from __future__ import annotations

from collections.abc import Iterable

from rung.governance.records import Edge, Node
from rung.governance.store import GovernanceStore
from rung.storage.scope import Scope


def node(kind: str, key: str) -> Node:
    """A thing in the graph."""
    return Node(kind=kind, id=key)


def link(scope: Scope, source: Node, relation: str, target: Node) -> None:
    """Record, in the scope's transaction, that ``source`` went into or caused ``target``."""
    link_all(scope, [(source, relation, target)])


def link_all(scope: Scope, edges: Iterable[tuple[Node, str, Node]]) -> None:
    """Record several edges at once."""
    rows = [Edge(source=source, relation=relation, target=target, at=scope.now) for source, relation, target in edges]
    GovernanceStore(scope.connection).add_edges(scope.project, rows)
