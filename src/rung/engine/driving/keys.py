"""Keys: what a step's outputs depend on, as parts and as the key of the cache; for a map, the key of each item too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

from rung.core.digests import digest_of
from rung.engine.driving.states import Live
from rung.engine.wiring import Outputs, content, step_seed
from rung.pipelines.authoring import Step
from rung.pipelines.rules import cache_key
from rung.pipelines.tracing import Node, operands_in

_TRIPLE = 3  # a value's content: kind, digest, meta
_TOLD = frozenset({str, int, float, bool, type(None), list, tuple, dict})
_LONG = 120


class Codes(Protocol):
    """Where the parts of a key come from that are the step's own: code, environment, salt."""

    def prepare(self, steps: Iterable[Step[..., Any]]) -> None:
        """Take the fingerprints of all steps, before any of them runs."""
        ...

    def parts(self, step: Step[..., Any], *, params: dict[str, Any], inputs: dict[str, Any], seed: int) -> dict[str, Any]:
        """The parts of a step's key."""
        ...

    def unsure(self, step: Step[..., Any]) -> tuple[str, ...]:
        """What of a step could not be told apart, so that it is not cached."""
        ...

    def draws(self, step: Step[..., Any]) -> bool:
        """Whether a step may draw from the random generators that steps in one process share."""
        ...

    @property
    def details(self) -> Mapping[str, Any]:
        """What the digests in parts made so far stand for."""
        ...

    def take_details(self) -> dict[str, Any]:
        """Of these, what was made since the last call."""
        ...


def key_of(live: Live, codes: Codes, outputs: Outputs, seed: int) -> str:
    """The key of a node, whose parts are left with it. Raises Invalid for an argument that has no content."""
    step = live.node.step
    params, live.columns = _literals(live.node, outputs)
    inputs = {
        name: content(value, outputs, where=f"argument {name!r} of step {step.name!r}")
        for name, value in live.node.arguments.items()
        if name not in params
    }
    live.parts = codes.parts(step, params=params, inputs=inputs, seed=step_seed(seed, live.key))
    return cache_key(step.name if live.node.kind == "step" else f"{step.name}[]", live.parts)


def step_parts(node: Node, codes: Codes, seed: int) -> dict[str, Any]:
    """The parts of a node's key without its inputs, which are not known yet."""
    params, _ = _literals(node, None)
    parts = codes.parts(node.step, params=params, inputs={}, seed=step_seed(seed, node.key))
    return {name: value for name, value in parts.items() if name != "inputs"}


def _literals(node: Node, outputs: Outputs | None) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Contents of the arguments that are no outputs of other nodes; of a map's collections those of each item too.

    Without ``outputs`` a collection that holds some is left out.
    """
    params: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {}
    for name, value in node.arguments.items():
        where = f"argument {name!r} of step {node.step.name!r}"
        if name in node.over and type(value) in {list, tuple, range}:
            if outputs is None and next(operands_in(list(value)), None) is not None:
                continue
            column = columns[name] = [content(item, outputs or _nothing, where=where) for item in value]
            kinds = sorted({part[0] for part in column if len(part) == _TRIPLE and isinstance(part[0], str)})
            digest = digest_of(msgspec.json.encode(column, order="sorted"))
            params[name] = ["collection", len(column), digest, [[kind, "", {}] for kind in kinds]]
        elif next(operands_in(value), None) is None:
            params[name] = [*content(value, outputs or _nothing, where=where), *_text_of(value)]
    return params, columns


def _nothing(_: str) -> None:
    return None


def _text_of(value: Any) -> list[str]:
    """A small plain value as text, for those who ask what changed."""
    if type(value) not in _TOLD or (type(value) in {str, list, tuple, dict} and len(value) > _LONG):
        return []
    try:
        text = msgspec.json.encode(value)
    except TypeError:
        return []
    return [text.decode()] if len(text) <= _LONG else []


def item_base(live: Live) -> str:
    """What the keys of a map's items have in common: every part but the collections."""
    over = live.node.over
    fixed = {
        name: {key: value for key, value in part.items() if key not in over} if name in {"params", "inputs"} else part
        for name, part in live.parts.items()
    }
    return cache_key(f"{live.node.step.name}[]", fixed)


def item_key(base: str, contents: dict[str, Any]) -> str:
    """The key of one item of a map by the contents of its arguments."""
    return digest_of(base.encode() + msgspec.json.encode(contents, order="sorted"))
