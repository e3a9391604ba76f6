"""Variables of stages: what ``${…}`` in a command stands for, read from the project's files whenever a plan is made.

As in DVC (https://dvc.org/doc/user-guide/project-structure/dvcyaml-files#templating), a mapping in a command becomes
options, a list words, and ``\\${`` stays as it is. What shapes the stages themselves, such as the path of an output, was
filled in when they were imported; that it still holds is checked, for a plan with old paths would answer for old files.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from rung.core.errors import Invalid, NotFound
from rung.pipelines.stages import read_values, value_at, workspace

HOLE = re.compile(r"(?<!\\)\$\{\s*([^}]*?)\s*\}")


def variables(
    module: str, listed: Sequence[str | Mapping[str, Any]], known: Mapping[str, Any] | None = None, *, folder: str = ".",
    fixed: Mapping[str, Any] | None = None, keys: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The variables of stages as their files have them now.

    Args:
        module: the module of the stages.
        listed: files, ``file:key,key``, and mappings; later ones win.
        known: variables of the outer level.
        folder: where the files lie, relative to the project.
        fixed: values by dotted name that shaped the stages; they must be the same now.
        keys: names within a mapping, or places in a list, over which stages were written out; the same.

    Raises:
        Invalid: a value that shapes the stages is another one now, or gone. NotFound: a file is missing.
    """
    held = merged_variables(workspace(module) / folder, listed, known or {})
    for name, then in (keys or {}).items():
        _refuse_change(held, name, list(then), keys_of)
    for name, then in (fixed or {}).items():
        _refuse_change(held, name, then, plain)
    return held


@overload
def filled(command: str, held: Mapping[str, Any], **bound: Any) -> str: ...
@overload
def filled(command: Sequence[str], held: Mapping[str, Any], **bound: Any) -> str | list[str]: ...
def filled(command: str | Sequence[str], held: Mapping[str, Any], **bound: Any) -> str | list[str]:
    """A command, or several, with the variables filled in. Raises NotFound, naming one that is not there."""
    if not isinstance(command, str):
        return [filled(line, held, **bound) for line in command]
    known = {**held, **bound}

    def words(hole: re.Match[str]) -> str:
        found = value_at(known, dotted(hole[1]), "vars")
        if isinstance(found, dict):
            return " ".join(_options(found))
        return " ".join(_shell(item) for item in found) if isinstance(found, list) else text_of(found)

    return HOLE.sub(words, command).replace("\\${", "${")


def merged_variables(root: Path, listed: Sequence[Any], known: Mapping[str, Any], *, where: str = "vars") -> dict[str, Any]:
    """Variables of files and mappings, one after the other over what is known. Raises NotFound, Invalid."""
    held = dict(known)
    for item in listed:
        if isinstance(item, Mapping):
            held = _merged(held, item)
            continue
        file, _, keys = str(item).partition(":")
        values = read_values(root / file)
        held = _merged(held, {key: value_at(values, key, f"{where}: {file}") for key in keys.split(",")} if keys else values)
    return held


def dotted(name: str) -> str:
    """``a[0].b`` as ``a.0.b``."""
    return re.sub(r"\[(\w+)\]", r".\1", name)


def keys_of(value: Any) -> list[str]:
    """Names within a mapping, or places in a list, as text; of anything else, none."""
    return [str(key) for key in (value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ())]


def plain(value: Any) -> Any:
    """A value of YAML as literals of Python that equal themselves: dates and odd numbers become text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    literal = value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))
    return value if literal else str(value)


def text_of(value: Any) -> str:
    """A scalar as it stands in a command or a path."""
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def _refuse_change(held: Mapping[str, Any], name: str, then: Any, told: Callable[[Any], Any]) -> None:
    try:
        now = told(value_at(held, name, "vars"))
    except NotFound:
        said = "is not there any more"
    else:
        if then == now:
            return
        said = f"is {now!r}"
    raise Invalid(
        f"The variable {name} {said}, and the stages were made of {then!r}.", code="pipelines.stale_stages",
        hint="It shapes them, not only their commands: `rung import dvc` makes them anew.",
    )  # fmt: skip


def _merged(first: dict[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(first)
    for key, value in second.items():
        out[key] = _merged(out[key], value) if isinstance(out.get(key), dict) and isinstance(value, dict) else value
    return out


def _options(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _options(value, f"{prefix}{key}.")
        elif value is True:
            yield f"--{prefix}{key}"
        elif isinstance(value, list):
            yield f"--{prefix}{key} {' '.join(_shell(item) for item in value)}"
        elif value is not False:
            yield f"--{prefix}{key} {_shell(value)}"


def _shell(value: Any) -> str:
    return shlex.quote(value) if isinstance(value, str) else text_of(value)
