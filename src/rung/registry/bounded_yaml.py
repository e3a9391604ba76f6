"""YAML of strangers: texts, lists and mappings only, bounded in size, depth and number, and no alias inside an anchor.

Every scalar stays the text it was written as, so nothing is built from a tag and no number is parsed.
"""

from __future__ import annotations

from typing import Any

import yaml

from rung.core.errors import Invalid

_LARGEST = 1_000_000
_DEEPEST = 40
_MOST_NODES = 50_000
_MOST_ALIASES = 100
_NULLS = frozenset({"", "null", "Null", "NULL", "~"})
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def read_yaml(data: bytes, name: str) -> dict[str, Any]:
    """The mapping a document holds. Raises Invalid for anything larger, deeper or else."""
    if len(data) > _LARGEST:
        raise _refused(name, f"has {len(data)} bytes, more than {_LARGEST}")
    try:
        text = data.decode("utf-8")
        _look_through(text, name)
        found = yaml.load(text, Loader=_LOADER)  # noqa: S506 - the base loader builds texts, lists and mappings only
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, RecursionError) as error:
        raise _refused(name, f"cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise _refused(name, "holds no mapping of names")
    return found


def text_of(value: Any) -> str:
    """A scalar as text, empty for null, for what is missing and for what is no scalar."""
    return value if isinstance(value, str) and value not in _NULLS else ""


def _look_through(text: str, name: str) -> None:
    """Count events before anything is built. An alias within an anchored node is how few bytes name millions of nodes."""
    depth = aliases = anchored = 0
    anchors: list[bool] = []
    for nodes, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if isinstance(event, yaml.AliasEvent):
            aliases += 1
            if anchored:
                raise _refused(name, "repeats a part inside of a repeated part")
        elif isinstance(event, yaml.CollectionStartEvent):
            anchors.append(event.anchor is not None)
            anchored += anchors[-1]
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchored -= anchors.pop()
            depth -= 1
        if depth > _DEEPEST or nodes > _MOST_NODES or aliases > _MOST_ALIASES:
            raise _refused(name, "is nested too deep or has too many parts")


def _refused(name: str, what: str) -> Invalid:
    return Invalid(f"{name} {what}.", code="registry.bad_mlmodel", hint="Log the model again with MLflow's own client.")
