"""Which distributions a project's code needs: what it imports, and what that requires."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_PIN = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*==\s*([^\s;\\,#]+)([^#\n]*)", re.MULTILINE)


def canonical(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def imports_of(sources: Iterable[str]) -> set[str]:
    """Top-level modules that some source texts import."""
    found: set[str] = set()
    for source in sources:
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue  # a file of another Python; whoever imports it will say so
        for statement in ast.walk(tree):
            if isinstance(statement, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
                found.add(statement.module.partition(".")[0])
    return found


def needed_by(sources: Iterable[str]) -> set[str]:
    """Canonical names of installed distributions that source texts import, with everything these require.

    Rung is not among them: what it brings counts only where the code imports it too.
    """
    from importlib.metadata import PackageNotFoundError, requires  # noqa: PLC0415 - a plain run needs nothing of it, and it loads forty modules

    providers = _providers(tuple(sys.path), tuple(Path(place).stat().st_mtime_ns for place in sys.path if Path(place).is_dir()))
    waiting = [canonical(name) for module in imports_of(sources) - {"rung"} for name in providers.get(module, ())]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            wants = requires(name) or []
        except PackageNotFoundError:
            continue
        found.add(name)
        waiting += [canonical(match[1]) for text in wants if "extra ==" not in text and (match := _NAME.match(text))]
    return found


def pinned_by(lock: bytes, kind: str) -> dict[str, str]:
    """Versions that a lock asks for unconditionally, by canonical name; of a uv.lock also those of other platforms."""
    text = lock.decode("utf-8", "replace")
    if kind == "uv.lock":
        entries = tomllib.loads(text).get("package", [])
        return {
            canonical(entry["name"]): entry["version"] for entry in entries
            if "version" in entry and not {"editable", "virtual", "directory"} & set(entry.get("source", {}))
        }  # fmt: skip
    return {canonical(match[1]): match[2] for match in _PIN.finditer(text) if ";" not in match[3]}


def unmet(pins: Mapping[str, str], installed: Mapping[str, tuple[str, str]], *, missing_too: bool) -> list[str]:
    """Pins that what is installed does not meet, in words."""
    found = []
    for name, version in sorted(pins.items()):
        held = installed.get(name)
        if held is None and missing_too:
            found.append(f"{name} {version} is not installed")
        elif held is not None and held[0] != version:
            found.append(f"{name} is {held[0]}, not {version}")
    return found


@lru_cache(maxsize=1)
def _providers(places: tuple[str, ...], marks: tuple[int, ...]) -> Mapping[str, list[str]]:
    """Which distributions provide a module; read once until something is installed."""
    from importlib.metadata import packages_distributions  # noqa: PLC0415 - a plain run needs nothing of it, and it loads forty modules

    return packages_distributions()
