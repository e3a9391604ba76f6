"""From options to a graph: every node is checked with its settings, its columns and its models before any row comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rung.core.errors import Invalid, RungError
from rung.core.records import in_words, replaced
from rung.registry.records import Field
from rung.serving.graph.family import GRAPH_NODES, Building, Surroundings
from rung.serving.graph.flow import REQUEST, Node, Shape, kind_of
from rung.serving.graph.running import OWN, Graph
from rung.serving.options.graph import GraphNode, GraphOptions

_BLOCKING = frozenset({"lookup", "fallback"})


def build(options: GraphOptions | None, around: Surroundings) -> Graph | None:
    """The graph of a deployment; None without nodes, so that a plain deployment pays nothing.

    Raises:
        Invalid: naming the node, for an unknown kind, wrong settings, a cycle, a node that leads nowhere, or columns and
            types that do not fit. NotFound: a model, a view or a dataset does not exist.
    """
    if options is None or not options.nodes:
        return None
    held = _by_name(options)
    read = {node.name: settings_of(node) for node in options.nodes}
    inputs = inputs_of(options)
    needs = {name: (*inputs[name], *_refers(held[name], read[name])) for name in held}
    ordered = _ordered(held, needs)
    fields = asked_fields(options, around)
    shapes = {REQUEST: Shape(kinds={item.name: kind_of(item.dtype) for item in fields})}
    nodes: dict[str, Node] = {}
    for name in ordered:
        nodes[name] = _made(held[name], read[name], inputs[name], needs[name], shapes, around)
        shapes[name] = nodes[name].shape
    looked_up = {name: kind for key, node in nodes.items() for name, kind in GRAPH_NODES.get(held[key].kind).looks_up(node).items()}
    return Graph(
        nodes={name: nodes[name] for name in held}, kinds={name: node.kind for name, node in held.items()}, needs=needs,
        last=options.nodes[-1].name, fields=fields, models=models_of(options), blocking=any(n.kind in _BLOCKING for n in options.nodes),
        places={item.name: place for place, item in enumerate(fields)}, looked_up=looked_up,
    )  # fmt: skip


def models_of(options: GraphOptions | None) -> tuple[str, ...]:
    """The models a graph names, ``name:number``, without the deployment's own. Raises Invalid."""
    named = [
        model
        for node in (options.nodes if options else ())
        for model in GRAPH_NODES.get(node.kind).models(settings_of(node))
        if model != OWN
    ]
    return tuple(dict.fromkeys(named))


def asked_fields(options: GraphOptions, around: Surroundings) -> tuple[Field, ...]:
    """What callers send: the columns the graph declares, else those of the deployment's version."""
    if not options.inputs:
        return around.own.signature.inputs
    named = [item.name for item in options.inputs]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise Invalid(f"The graph's input {twice[0]!r} is declared twice.", code="graph.bad_input", hint="Name each column once.")
    return tuple(Field(name=item.name, dtype=item.dtype, nullable=item.nullable, optional=item.optional) for item in options.inputs)


def frozen(options: GraphOptions, around: Surroundings) -> GraphOptions:
    """The graph as it is kept: with numbers for aliases, and what profiles say. Raises Invalid or NotFound, naming the node."""
    kept = []
    for node in options.nodes:
        settings = settings_of(node)
        try:
            settings = GRAPH_NODES.get(node.kind).frozen(settings, around)
        except RungError as error:
            raise _at(node, error) from None
        kept.append(replaced(node, settings=msgspec.to_builtins(settings)))
    return replaced(options, nodes=tuple(kept))


def model_ref(text: str) -> tuple[str, int]:
    """Name and number of ``name:number``. Raises Invalid."""
    name, _, number = text.rpartition(":")
    if not name or not number.isdigit():
        raise Invalid(
            f"{text!r} names no model version.", code="graph.bad_model",
            hint="Write NAME:NUMBER, NAME@ALIAS (frozen to its number when the graph is set), or nothing for the deployment's own.",
        )  # fmt: skip
    return name, int(number)


def _by_name(options: GraphOptions) -> dict[str, GraphNode]:
    held: dict[str, GraphNode] = {}
    for node in options.nodes:
        if node.name == REQUEST or "." in node.name:
            raise Invalid(f"A node cannot be called {node.name!r}.", code="graph.bad_name", hint="Choose a word without dots.")
        if node.name in held:
            raise Invalid(f"Two nodes are called {node.name!r}.", code="graph.twice", hint="Rename one of them.")
        held[node.name] = node
    return held


def settings_of(node: GraphNode) -> Any:
    """A node's settings as its kind's record. Raises Invalid."""
    try:
        kind = GRAPH_NODES.get(node.kind)
    except RungError as error:
        raise Invalid(f"Node {node.name!r} is of the unknown kind {node.kind!r}.", code="graph.unknown_kind", hint=error.hint) from None
    try:
        return msgspec.convert(node.settings, kind.settings, strict=True)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"Node {node.name!r} has wrong settings: {in_words(error)}.", code="graph.bad_settings",
            hint=f"Nodes of the kind {node.kind} take {', '.join(kind.settings.__struct_fields__) or 'no settings'}.",
        ) from None  # fmt: skip


def inputs_of(options: GraphOptions) -> dict[str, tuple[str, ...]]:
    """What each node reads from: what it names, else the node before it; the first one reads the request."""
    before = REQUEST
    found = {}
    for node in options.nodes:
        found[node.name] = node.inputs or (before,)
        before = node.name
    return found


def _refers(node: GraphNode, settings: Any) -> tuple[str, ...]:
    return GRAPH_NODES.get(node.kind).refers(settings)


def _ordered(held: Mapping[str, GraphNode], needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Nodes with those they need before them. Raises Invalid for unknown ones, cycles, and those nobody needs."""
    ordered: dict[str, None] = {}
    way: list[str] = []

    def visit(name: str) -> None:
        if name in ordered or name == REQUEST:
            return
        if name in way:
            circle = " → ".join([*way[way.index(name) :], name])
            raise Invalid(f"Node {name!r} waits for itself: {circle}.", code="graph.cycle", hint="Cut one of these edges.")
        way.append(name)
        for need in needs[name]:
            if need != REQUEST and need not in held:
                raise Invalid(
                    f"Node {name!r} reads from {need!r}, which is no node.", code="graph.unknown_node",
                    hint=f"Known: {', '.join([REQUEST, *held])}.",
                )  # fmt: skip
            visit(need)
        way.pop()
        ordered[name] = None

    visit(list(held)[-1])
    reached = list(ordered)
    for name in held:
        visit(name)
    idle = [name for name in held if name not in reached]
    if idle:
        raise Invalid(
            f"Node {idle[0]!r} leads nowhere: the answer is that of {list(held)[-1]!r}, which does not ask it.", code="graph.idle_node",
            hint="Remove it, or name it among the inputs of a node that is asked.",
        )  # fmt: skip
    return reached


def _made(
    node: GraphNode, settings: Any, inputs: tuple[str, ...], needs: tuple[str, ...], shapes: Mapping[str, Shape], around: Surroundings
) -> Node:
    known = {name: shapes[name] for name in (*needs, REQUEST)}
    try:
        return GRAPH_NODES.get(node.kind).made(settings, Building(node=node, inputs=inputs, shapes=known, around=around))
    except RungError as error:
        raise _at(node, error) from None


def _at(node: GraphNode, error: RungError) -> RungError:
    """The error with the node's name in front."""
    if error.message.startswith(f"Node {node.name!r}"):
        return error
    return type(error)(f"Node {node.name!r}: {error.message}", code=error.code, hint=error.hint)
