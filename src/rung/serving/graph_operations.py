"""Handlers of graphs: setting one, and trying one on a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rung.core.errors import Conflict, Invalid
from rung.core.records import replaced
from rung.core.requests import handles
from rung.registry.loading import predictor
from rung.registry.records import ModelVersion
from rung.registry.store import RegistryStore
from rung.serving import graph_records as g
from rung.serving import records as r
from rung.serving.graph.flow import Flow
from rung.serving.graph.making import model_ref
from rung.serving.graph.running import OWN, Graph, plain
from rung.serving.graph.setting import checked, frozen
from rung.serving.graph.trying import row_of, scores_by
from rung.serving.inference import Asked, Floats, Rows
from rung.serving.options import GraphOptions
from rung.serving.revising import drafted, saved
from rung.serving.store import ServingStore
from rung.storage.scope import Scope


@handles(g.SetGraph)
def set_graph(request: g.SetGraph, scope: Scope) -> Callable[[Scope], r.Revision]:
    """The revision with the graph. Raises NotFound, Conflict, or Invalid naming the node that cannot be."""
    held, own = scope.read(lambda s: _served(s, request.deployment))
    options = frozen(scope, held.name, replaced(held.options, graph=request.graph), own)

    def save(inside: Scope) -> r.Revision:
        now, same = _served(inside, request.deployment)
        if same.digest != own.digest:
            raise Conflict(f"Deployment {held.name!r} serves another version since.", code="serving.changed", hint="Set the graph again.")
        return saved(inside, drafted(now, now.routes, "configure", request.reason, options=replaced(now.options, graph=options.graph)))

    return save


@handles(g.TryGraph)
def try_graph(request: g.TryGraph, scope: Scope) -> Callable[[Scope], g.GraphTrial]:
    """What each node gives for a row. Raises NotFound, Conflict, Invalid."""
    held, own = scope.read(lambda s: _served(s, request.deployment))
    options = held.options.graph if request.graph is None else request.graph
    if options is None or not options.nodes:
        raise Conflict(f"Deployment {held.name!r} has no graph.", code="graph.none", hint="Set one: rung graph set NAME FILE.")
    if request.graph is not None:
        options = frozen(scope, f"{held.name}?trial", replaced(held.options, graph=options), own).graph
    trial = _trial(scope, held.name, options, own, request.row)
    return lambda _: trial


def _trial(scope: Scope, deployment: str, options: GraphOptions | None, own: ModelVersion, row: dict[str, Any]) -> g.GraphTrial:
    graph = checked(scope, f"{deployment}?trial", options, own)  # counts of its own: a trial takes nobody's action away
    assert graph is not None  # noqa: S101 - it has nodes
    rows = row_of(row, graph.fields)
    answer, flows, spent = graph.tried(rows, Asked(rows=rows), _scoring(scope, graph, own))
    nodes = [_node(name, graph, flows, spent) for name in graph.nodes if name in flows]
    score = answer.scores[0]
    return g.GraphTrial(
        score=plain(answer.scores[:1])[0] if not score.ndim else score.tolist(), flags=answer.flags[0] if answer.flags else (),
        columns={name: values[0] for name, values in (answer.columns or {}).items()}, nodes=tuple(nodes),
    )  # fmt: skip


def _node(name: str, graph: Graph, flows: dict[str, Flow], spent: dict[str, float]) -> g.NodeTrial:
    flow = flows[name]
    before = [flows[need] for need in graph.needs[name] if need in flows]
    fresh = {key: plain(values)[0] for key, values in flow.added.items() if not any(other.added.get(key) is values for other in before)}
    return g.NodeTrial(node=name, kind=graph.kinds[name], score=_score(flow), columns=fresh, us=round(spent.get(name, 0.0), 1))


def _score(flow: Flow) -> Any:
    if flow.score is None:
        return None
    return plain(flow.score[:1])[0] if flow.score.ndim == 1 else dict(zip(map(str, flow.classes), flow.score[0].tolist(), strict=True))


def _scoring(scope: Scope, graph: Graph, own: ModelVersion) -> Callable[[str, Rows], Floats]:
    """Scores by versions loaded in this process."""
    versions = {OWN: own}
    for model in graph.models:
        name, number = model_ref(model)
        versions[model] = scope.read(lambda s, name=name, number=number: RegistryStore(s.connection, s.project).version(name, number))  # type: ignore[misc]  # bound in the loop
    return scores_by({name: predictor(scope, version) for name, version in versions.items()})


def _served(scope: Scope, deployment: str) -> tuple[r.Deployment, ModelVersion]:
    held = ServingStore(scope.connection, scope.project).get(deployment)
    stable = held.stable
    if stable is None:
        raise Invalid(f"Deployment {deployment!r} serves nothing now.", code="serving.undeployed", hint="Deploy a version first.")
    return held, RegistryStore(scope.connection, scope.project).version(stable.model, stable.number)
