"""Outputs: how many a step has, and whether what it returned is what its annotation says."""

from __future__ import annotations

import ast
import collections.abc
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from rung.core.errors import Invalid
from rung.pipelines import artifacts

_LOOKED_AT = 1000  # parts of a container that are looked at: a wrong type is rarely wrong only further on


def output_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of a function's outputs: one, or as many as its ``tuple[...]`` annotation lists."""
    count = _tuple_length(inspect.signature(function).return_annotation)
    return ("output",) if count is None else tuple(f"output_{index}" for index in range(count))


def refuse_wrong_type(step: str, function: Callable[..., Any], names: tuple[str, ...], value: Any) -> Any:
    """The value, when it is what the function's return annotation says. Whole numbers pass for ``float``.

    Raises:
        Invalid: it is not; the message names step, output, expected and got.
    """
    hint = return_hint(function)
    if hint is Any:
        return value
    if len(names) == 1:
        parts = [(names[0], value, hint)]
    elif isinstance(value, tuple) and len(value) == len(names):
        parts = list(zip(names, value, typing.get_args(_bare(hint)), strict=True))
    else:
        raise Invalid(
            f"Step {step!r} is annotated to return {len(names)} values, but returned {_size_of(value)}.",
            code="pipelines.wrong_outputs",
            hint="Return a tuple of that length, or change the annotation.",
        )
    for name, part, wanted in parts:
        fault = fault_of(part, wanted)
        if fault:
            raise Invalid(
                f"Output {name!r} of step {step!r} is annotated as {type_name(wanted)}, but got {fault}.",
                code="pipelines.wrong_type",
                hint=_remedy(wanted),
            )
    return value


def fault_of(value: Any, wanted: Any) -> str:
    """What is wrong with a value for an annotation, in words; empty when nothing is or when it cannot be told."""
    wanted = _bare(wanted)
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted is None or wanted is type(None):
        return "" if value is None else _told(value)
    if origin in {typing.Union, types.UnionType}:
        return "" if any(not fault_of(value, option) for option in arguments) else _told(value)
    if origin is typing.Literal:
        return "" if any(value == option and type(value) is type(option) for option in arguments) else repr(value)[:100]
    if typing.is_typeddict(wanted):
        return "" if isinstance(value, dict) else _told(value)
    kind = origin or wanted
    if not isinstance(kind, type) or kind is object:
        return ""
    if not _is(value, kind):
        return _told(value)
    if not arguments or kind is type:
        return ""
    if kind is tuple and arguments[-1:] != (Ellipsis,):
        if len(value) != len(arguments):
            return f"a tuple of {len(value)}"
        return _first((f"item {at}", item, wanted) for at, (item, wanted) in enumerate(zip(value, arguments, strict=True)))
    if issubclass(kind, (list, tuple, set, frozenset)) or kind in {collections.abc.Sequence, collections.abc.Collection}:
        return _first((f"item {at}", item, arguments[0]) for at, item in enumerate(value))
    if issubclass(kind, (dict, collections.abc.Mapping)) and len(arguments) > 1:
        return _first(("a key", key, arguments[0]) for key in value) or _first(
            (f"the value of {key!r}", item, arguments[1]) for key, item in value.items()
        )
    return ""


def type_name(hint: Any) -> str:
    """An annotation in few words."""
    hint = _bare(hint)
    if hint is inspect.Parameter.empty:
        return ""
    return (hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", ""))[:500]


def _remedy(wanted: Any) -> str:
    wanted = _bare(wanted)
    if isinstance(wanted, type) and wanted.__module__ == artifacts.__name__:
        return f"Return {wanted.__name__}(…), or change the annotation."
    return "Return what the annotation says, or change the annotation."


def _first(parts: Iterable[tuple[str, Any, Any]]) -> str:
    for where, part, wanted in islice(parts, _LOOKED_AT):
        if fault := fault_of(part, wanted):
            return f"{fault} as {where}"
    return ""


def _is(value: Any, kind: type) -> bool:
    """Whether a value is of a class, where numbers of NumPy and whole numbers for ``float`` count as what they are."""
    try:
        if isinstance(value, kind):
            return True
    except TypeError:
        return True  # a protocol that cannot be asked
    numpy = sys.modules.get("numpy")
    scalar = value.dtype.kind if numpy is not None and isinstance(value, numpy.generic) else ""
    if kind is float:
        return type(value) is int or scalar in {"f", "i", "u"}
    if kind is complex:
        return type(value) in {int, float} or scalar in {"c", "f", "i", "u"}
    return (kind is int and scalar in {"i", "u"}) or (kind is bool and scalar == "b")


def _bare(hint: Any) -> Any:
    while True:
        if typing.get_origin(hint) is typing.Annotated:
            hint = typing.get_args(hint)[0]
        elif isinstance(hint, typing.NewType):
            hint = hint.__supertype__
        else:
            return hint


@functools.lru_cache(maxsize=512)
def return_hint(function: Callable[..., Any]) -> Any:
    try:
        hint = typing.get_type_hints(function, include_extras=True).get("return", Any)
    except Exception:  # an annotation may name, and so raise, anything; then it is for type checkers only
        return Any
    return Any if hint is None and "return" not in getattr(function, "__annotations__", {}) else hint


def _told(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _size_of(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__


def _tuple_length(annotation: Any) -> int | None:
    if isinstance(annotation, str):  # the annotation's text is enough, and its names may exist for type checkers only
        try:
            tree = ast.parse(annotation, mode="eval").body
        except SyntaxError:
            return None
        if not isinstance(tree, ast.Subscript) or ast.unparse(tree.value) not in {"tuple", "Tuple", "typing.Tuple"}:
            return None
        items = list(tree.slice.elts) if isinstance(tree.slice, ast.Tuple) else [tree.slice]
        endless = any(isinstance(item, ast.Constant) and item.value is Ellipsis for item in items)
        return None if endless else len(items)
    annotation = _bare(annotation)
    if typing.get_origin(annotation) is not tuple:
        return None
    arguments = typing.get_args(annotation)
    return None if Ellipsis in arguments or not arguments else len(arguments)
