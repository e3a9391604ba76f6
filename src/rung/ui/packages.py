"""What packages a lock names, and how two locks differ."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

_PINNED = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;\\#]+)", re.MULTILINE)


def packages(content: bytes, kind: str) -> dict[str, str]:
    """Name -> version of a lock's packages; empty where it cannot be read."""
    text = content.decode("utf-8", "replace")
    if kind == "uv.lock":
        try:
            held = tomllib.loads(text).get("package", [])
        except tomllib.TOMLDecodeError:
            return {}
        return {
            _name(item["name"]): str(item.get("version", ""))
            for item in held
            if isinstance(item, dict) and isinstance(item.get("name"), str)
        }
    return {_name(name): version for name, version in _PINNED.findall(text)}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """What was added, removed or changed, as (package, what, version before, version after), by package."""
    found = []
    for name in sorted({*before, *after}):
        if name not in before:
            found.append((name, "added", "", after[name]))
        elif name not in after:
            found.append((name, "removed", before[name], ""))
        elif before[name] != after[name]:
            found.append((name, "changed", before[name], after[name]))
    return found


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
