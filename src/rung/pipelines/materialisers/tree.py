"""Lists, tuples and dicts that hold frames, arrays, estimators and the like: each part in its own kind's bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from rung.core.errors import Invalid
from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Part, Payload, load, materialise

_DEEPEST = 50


@MATERIALISERS.member("tree")
class Tree:
    """A list, a tuple or a dict with text keys, of parts that have kinds of their own."""

    rank = 10

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is such a container."""
        return type(value) in {list, tuple} or (type(value) is dict and all(type(key) is str for key in value))

    @staticmethod
    def dump(value: Any) -> Payload:
        """msgpack of the parts."""
        return Payload(msgspec.msgpack.encode(_dumped(value, 0), order="deterministic"))

    @staticmethod
    def load(payload: Payload, scratch: Path) -> Any:
        """The container, each part fresh."""
        data = payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
        return _loaded(msgspec.msgpack.decode(data), scratch)

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Part by part."""
        return _compared(original, repeated, tolerance, "")


def _dumped(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise Invalid("it is nested too deeply.", code="pipelines.unserialisable", hint="Flatten it.")
    if type(value) is dict and all(type(key) is str for key in value):
        return ["dict", [[key, _dumped(item, depth + 1)] for key, item in value.items()]]
    if type(value) in {list, tuple}:
        return [type(value).__name__, [_dumped(item, depth + 1) for item in value]]
    kind, payload = materialise(value, where="part of it")
    return ["leaf", kind, payload.meta, payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()]


def _loaded(node: Any, scratch: Path) -> Any:
    tag, *rest = node
    if tag == "dict":
        return {key: _loaded(item, scratch) for key, item in rest[0]}
    if tag in {"list", "tuple"}:
        items = [_loaded(item, scratch) for item in rest[0]]
        return tuple(items) if tag == "tuple" else items
    kind, meta, data = rest
    return load(kind, Payload(data, meta), scratch)


def _compared(original: Any, repeated: Any, tolerance: float, name: str) -> Difference:
    if type(original) is not type(repeated):
        return Difference("different", f"{name or 'value'} was a {type(original).__name__}, is a {type(repeated).__name__}")
    if isinstance(original, dict) and set(original) == set(repeated):
        parts = [(original[key], repeated[key], f"{name}.{key}" if name else key) for key in original]
    elif isinstance(original, (list, tuple)) and len(original) == len(repeated):
        parts = [(a, b, f"{name}[{i}]") for i, (a, b) in enumerate(zip(original, repeated, strict=True))]
    elif isinstance(original, (dict, list, tuple)):
        return Difference("different", f"{name or 'value'} has other parts")
    else:
        member = next(m for _, m in sorted(MATERIALISERS.items(), key=lambda item: -item[1].rank) if m.accepts(original))
        found = member.compare(original, repeated, tolerance)
        told = tuple(replace(part, name=f"{name}: {part.name}") for part in found.parts) if name else found.parts
        return Difference(found.likeness, f"{name}: {found.detail}" if name else found.detail, told)
    worst, all_parts = Difference("identical", "equal"), list[Part]()
    for a, b, path in parts:
        found = _compared(a, b, tolerance, path)
        all_parts += found.parts
        if found.likeness == "different":
            return Difference(found.likeness, found.detail, tuple(all_parts))
        worst = found if found.likeness == "equivalent" else worst
    return Difference(worst.likeness, worst.detail, tuple(all_parts))
