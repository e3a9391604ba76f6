"""Graphs from files and plain values: what a person writes, as the options that a deployment keeps."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rung.client.transports import Transport
from rung.core.errors import Invalid, NotFound
from rung.core.records import in_words
from rung.serving.options import GraphOptions
from rung.value.records import GetMatrix

_OWN = frozenset({"name", "kind", "inputs", "settings"})


def graph_from(source: GraphOptions | Mapping[str, Any] | Path | str, transport: Transport | None = None) -> GraphOptions:
    """A graph from options, plain values, or a TOML or JSON file.

    A node's settings stand beside its name and kind, or under ``settings``; ``inputs`` of the graph may be a table of
    types by name. A decide node with ``value_matrix = "MODEL"`` and two ``actions`` gets that matrix's money written in.

    Raises:
        NotFound: there is no such file, or no such value matrix. Invalid: it is no graph.
    """
    if isinstance(source, GraphOptions):
        return source
    plain = dict(source) if isinstance(source, Mapping) else _read(Path(source))
    if isinstance(plain.get("inputs"), Mapping):
        plain["inputs"] = [{"name": name, **_input(kind)} for name, kind in plain["inputs"].items()]
    nodes = plain.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(node, Mapping) for node in nodes):
        raise Invalid("A graph is a list of nodes.", code="graph.bad_file", hint="Write [[nodes]] tables with name and kind.")
    plain["nodes"] = [_priced(_node(node), transport) for node in nodes]
    try:
        return msgspec.convert(plain, GraphOptions)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"This is no graph: {in_words(error)}.", code="graph.bad_file", hint="A graph has `nodes`, and perhaps `inputs`."
        ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}.", code="graph.no_file", hint="Name a TOML or JSON file.") from None
    try:
        found = msgspec.json.decode(data) if path.suffix == ".json" else tomllib.loads(data.decode("utf-8"))
    except (ValueError, msgspec.DecodeError) as error:
        raise Invalid(
            f"{path} cannot be read: {error}.", code="graph.bad_file", hint="Write TOML, or JSON in a file that ends in .json."
        ) from None
    if not isinstance(found, dict):
        raise Invalid(f"{path} holds no graph.", code="graph.bad_file", hint="Write [[nodes]] tables.")
    return found


def _input(kind: Any) -> dict[str, Any]:
    return dict(kind) if isinstance(kind, Mapping) else {"dtype": kind}


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in node.items() if name in _OWN}
    own["settings"] = {**dict(node.get("settings") or {}), **{name: value for name, value in node.items() if name not in _OWN}}
    if isinstance(own.get("inputs"), str):
        own["inputs"] = [own["inputs"]]
    return own


def _priced(node: dict[str, Any], transport: Transport | None) -> dict[str, Any]:
    """A decide node with the money of the value matrix it names: the first action takes a row for negative, the second for positive."""
    settings = node["settings"]
    model, actions = settings.get("value_matrix"), settings.get("actions")
    if node.get("kind") != "decide" or not model or settings.get("money") or settings.get("threshold") is not None or transport is None:
        return node
    if not isinstance(actions, list) or len(actions) != 2:  # noqa: PLR2004 - one for each truth
        raise Invalid(
            f"Node {node.get('name')!r} prices its actions by a value matrix and needs two.", code="graph.bad_node",
            hint='Write actions = ["what to do with a negative", "what to do with a positive"].',
        )  # fmt: skip
    matrix = transport.call(GetMatrix(model=model))
    money = {actions[0]: [matrix.tn, matrix.fn], actions[1]: [matrix.fp, matrix.tp]}
    told = f"{matrix.model}:{matrix.number} in {matrix.currency}"
    return {**node, "settings": {**settings, "actions": [], "money": money, "value_matrix": told}}
