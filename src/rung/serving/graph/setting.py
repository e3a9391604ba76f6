"""Setting a graph: what is written into a revision, what is checked before, and which models it serves with."""

from __future__ import annotations

from collections.abc import Iterable

from rung.core.records import replaced
from rung.registry.records import ModelVersion
from rung.registry.store import RegistryStore
from rung.serving.graph.making import build, model_ref, models_of
from rung.serving.graph.making import frozen as frozen_graph
from rung.serving.graph.running import Graph
from rung.serving.graph.surroundings import PlatformSurroundings
from rung.serving.options import DeploymentOptions, GraphOptions
from rung.serving.records import Route
from rung.storage.scope import Scope


def frozen(scope: Scope, deployment: str, options: DeploymentOptions, own: ModelVersion) -> DeploymentOptions:
    """Options whose graph names no alias and needs no dataset to answer; reads datasets, so not inside a transaction.

    Raises:
        Invalid, NotFound, Conflict: the graph cannot answer; the message names the node.
    """
    if options.graph is None or not options.graph.nodes:
        return replaced(options, graph=None)
    graph = frozen_graph(options.graph, PlatformSurroundings(scope, deployment, own))
    checked(scope, deployment, graph, own)
    return replaced(options, graph=graph)


def checked(scope: Scope, deployment: str, graph: GraphOptions | None, own: ModelVersion) -> Graph | None:
    """The graph, made as answering would make it. Raises Invalid, NotFound or Conflict, naming the node."""
    return build(graph, PlatformSurroundings(scope, deployment, own))


def models_served(options: DeploymentOptions) -> list[tuple[str, int]]:
    """Name and number of the versions a deployment's graph asks, beside those it routes to."""
    return [model_ref(model) for model in models_of(options.graph)]


def check_graph(scope: Scope, deployment: str, options: DeploymentOptions, routes: Iterable[Route]) -> None:
    """Whether the graph can answer with each version that requests may be given to. Raises Invalid, naming the node."""
    if options.graph is None:
        return
    for route in routes:
        checked(scope, deployment, options.graph, RegistryStore(scope.connection, scope.project).version(route.model, route.number))
