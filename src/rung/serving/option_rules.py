"""Options by path: setting them, the nearest known path, and what differs between two states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from rung.core.errors import Invalid
from rung.core.records import Record, decoded
from rung.serving.configuring_records import FieldChange
from rung.serving.options import DeploymentOptions
from rung.serving.records import Route

_KINDS = {"float": "a number", "int": "a whole number", "str": "text", "bool": "true or false", "array": "a list", "object": "a table"}


def with_options(options: DeploymentOptions, changes: Mapping[str, Any]) -> DeploymentOptions:
    """Options with values at paths changed; None puts the default back. Raises Invalid, naming the nearest known path."""
    plain = msgspec.to_builtins(options)
    defaults = msgspec.to_builtins(DeploymentOptions())
    for path, value in sorted(changes.items()):
        parts = path.split(".")
        check_path(parts)
        _put(plain, parts, value, defaults)
    try:
        return decoded(plain, DeploymentOptions)
    except Invalid as error:
        raise _misfit(error, plain) from None


def check_path(parts: Sequence[str]) -> None:
    """Raise Invalid unless there is an option of that path; settings of plug-ins take any name below theirs."""
    kind: Any = DeploymentOptions
    for place, part in enumerate(parts):
        names = _names(kind)
        if names is None:
            return
        if part not in names:
            path, known = ".".join(parts), paths()
            near = get_close_matches(path, known, n=1, cutoff=0.4) or [".".join([*parts[:place], near]) for near in names[:1]]
            raise Invalid(
                f"There is no option {path!r}; the nearest is {near[0]!r}.",
                code="serving.no_option",
                hint="`rung endpoint options` lists all of them.",
            )
        kind = next(f.type for f in msgspec.structs.fields(kind) if f.name == part)
        kind = _record_in(kind) or kind


def paths(kind: Any = DeploymentOptions, above: str = "") -> list[str]:
    """Paths of all options, groups included."""
    found = []
    for field in msgspec.structs.fields(kind):
        path, inner = f"{above}{field.name}", _record_in(field.type)
        found.append(path)
        if inner is not None:
            found += paths(inner, f"{path}.")
    return found


def described() -> tuple[tuple[str, Any, str], ...]:
    """Every single option: path, default, and what it is."""
    return tuple(_described(DeploymentOptions, ""))


def option_at(options: DeploymentOptions, path: str) -> Any:
    """The value of one option; None below a group that is not set."""
    held: Any = msgspec.to_builtins(options)
    for part in path.split("."):
        held = held.get(part) if isinstance(held, dict) else None
    return held


def differences(before: Any, after: Any, above: str = "") -> tuple[FieldChange, ...]:
    """Fields of two plain values that differ, by path, in order.

    >>> [(d.path, d.before, d.after) for d in differences({"a": {"b": 1}}, {"a": {"b": 2}, "c": 3})]
    [('a.b', 1, 2), ('c', None, 3)]
    """
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted({*before, *after})
        return tuple(d for name in names for d in differences(before.get(name), after.get(name), f"{above}{name}."))
    return () if before == after else (FieldChange(path=above.rstrip("."), before=before, after=after),)


def state_of(routes: Sequence[Route], options: DeploymentOptions | None) -> dict[str, Any]:
    """What two states are compared by: version and share by arm, and the options."""
    arms = {route.arm: {"version": f"{route.model}:{route.number}", "share": round(route.share, 6)} for route in routes}
    return {"routes": arms, **({} if options is None else msgspec.to_builtins(options))}


def _misfit(error: Invalid, plain: Any) -> Invalid:
    """A fault of the whole told as one of the option it lies in."""
    said, _, at = error.message.rstrip(".").partition(" - at `$.")
    path = at.rstrip("`")
    if not path:
        return error
    held: Any = plain
    for part in path.split("."):
        held = held.get(part) if isinstance(held, dict) else None
    for name, words in _KINDS.items():
        said = said.replace(f"`{name}`", words)
    said = (said.partition(": ")[2] or said).removesuffix(f", not {held!r}").removesuffix(f" {held!r}")
    return Invalid(
        f"Option {path!r} does not take {held!r}: {said[0].lower()}{said[1:]}.",
        code="serving.bad_option",
        hint="`rung endpoint options` says what each option is.",
    )


def _put(plain: dict[str, Any], parts: Sequence[str], value: Any, defaults: Any) -> None:
    held: Any = plain
    for part in parts[:-1]:
        if not isinstance(held.get(part), dict):
            if value is None:
                return  # a default within what is not set at all
            held[part] = {}
        held = held[part]
        defaults = defaults.get(part) if isinstance(defaults, dict) else None
    if value is not None:
        held[parts[-1]] = value
    elif isinstance(defaults, dict) and parts[-1] in defaults:
        held[parts[-1]] = defaults[parts[-1]]
    else:
        held.pop(parts[-1], None)


def _described(kind: Any, above: str) -> list[tuple[str, Any, str]]:
    found: list[tuple[str, Any, str]] = []
    for field in msgspec.structs.fields(kind):
        path, inner = f"{above}{field.name}", _record_in(field.type)
        if inner is not None:
            found += _described(inner, f"{path}.")
        else:
            default = field.default_factory() if field.default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT else field.default  # fmt: skip
            found.append((path, default, _words(field.type)))
    return found


def _words(kind: Any) -> str:
    for item in (kind, *get_args(kind)):
        for meta in getattr(item, "__metadata__", ()):
            if getattr(meta, "description", None):
                return str(meta.description)
    return ""


def _record_in(kind: Any) -> Any:
    """The record that a field holds, or may hold; None for anything else, lists of records among it."""
    return next((arm for arm in (kind, *(get_args(kind) if get_origin(kind) in {Union, UnionType} else ())) if _is_record(arm)), None)


def _names(kind: Any) -> list[str] | None:
    return [field.name for field in msgspec.structs.fields(kind)] if _is_record(kind) else None


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Record)
