"""Values other than code, as plain parts that are equal for equal values in every process."""

from __future__ import annotations

import datetime
import decimal
import functools
import logging
import threading
import types
import uuid
from contextvars import ContextVar
from pathlib import PurePath
from typing import Any, TypeVar

from rung.core.digests import digest_of
from rung.core.errors import RungError
from rung.pipelines.materialisers import materialise

PLAIN = frozenset({bool, int, float, str, bytes, complex, type(None), type(...), type(NotImplemented)})
_BY_REPR = (
    range, slice, bytearray, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta, datetime.timezone, uuid.UUID, PurePath,
)  # fmt: skip
_BY_REPR_NAMED = {("fractions", "Fraction"), ("zoneinfo", "ZoneInfo")}  # not imported for those who have no value of them
_BY_NAME = (
    logging.Logger, ContextVar, threading.local, TypeVar, types.MethodDescriptorType, types.WrapperDescriptorType,
    types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType,
)  # fmt: skip
_BY_CONTENT = {"numpy", "polars", "pandas", "pyarrow"}
_LONG = 200


def plain_parts(value: Any) -> list[Any]:
    """Parts of a number, a text or nothing; long ones by their digest."""
    text = repr(value)
    return [type(value).__name__, text if len(text) <= _LONG else digest_of(text.encode("utf-8", "surrogatepass"))]


def simple_parts(value: Any) -> list[Any] | None:
    """Parts of a value that its text tells whole, or that has a name and no content; None for any other."""
    kind = type(value)
    module = kind.__module__.partition(".")[0]
    if (isinstance(value, _BY_REPR) and module in {"builtins", *_MODULES}) or (module, kind.__qualname__) in _BY_REPR_NAMED:
        return [kind.__qualname__, repr(value)]
    if isinstance(value, _BY_NAME):
        return ["named", type(value).__name__, getattr(value, "__qualname__", getattr(value, "__name__", getattr(value, "name", "")))]
    return None


_MODULES = {"decimal", "datetime", "uuid", "pathlib"}


def content_parts(value: Any, name: str) -> list[Any] | None:
    """Parts of an array or a table by its canonical bytes; None for other values."""
    return written_parts(value, name) if type(value).__module__.partition(".")[0] in _BY_CONTENT else None


def written_parts(value: Any, name: str) -> list[Any] | None:
    """Parts of anything that a step could return, by the bytes it would be kept as; None where it cannot be kept."""
    try:
        member, payload = materialise(value, where=f"global {name!r}")
    except RungError:
        return None
    data = payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
    return ["value", member, digest_of(data), payload.meta]


def reduced(value: Any) -> list[Any] | None:
    """What pickling would take from an object, as values to look into: who makes it anew, from what, and its state.

    None for what cannot be pickled, such as a lock or an open file. Nothing is pickled or loaded.
    """
    try:
        found = value.__reduce_ex__(4)
    except Exception:  # whatever a foreign class raises here, the answer is that it cannot be followed
        return None
    if isinstance(found, str):
        return [found]
    maker, arguments, *rest = found
    state, items, pairs = (*rest, None, None, None)[:3]
    return [maker, arguments, by_name(state), None if items is None else list(items), None if pairs is None else [list(p) for p in pairs]]


def by_name(state: Any) -> Any:
    """An object's state with its attributes in the order of their names."""
    if isinstance(state, dict) and all(isinstance(key, str) for key in state):
        return {key: state[key] for key in sorted(state)}
    return state


def state_of(value: Any) -> dict[str, Any]:
    """Attributes of an object, those in slots and struct fields included; cached properties are left out."""
    kind = type(value)
    state = dict(getattr(value, "__dict__", {}))
    slots = [slot for base in kind.__mro__ for slot in _as_tuple(base.__dict__.get("__slots__", ()))]
    for slot in (*slots, *getattr(kind, "__struct_fields__", ())):
        if slot not in {"__dict__", "__weakref__"} and hasattr(value, slot):
            state[slot] = getattr(value, slot)
    derived = {name for base in kind.__mro__ for name, held in vars(base).items() if isinstance(held, functools.cached_property)}
    return {name: state[name] for name in sorted(state) if name not in derived}


def held_in(value: Any) -> list[Any]:
    """What an object holds as a container of a built-in kind."""
    if isinstance(value, dict):
        return [[key, item] for key, item in dict.items(value)]
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (set, frozenset)):
        return [frozenset(value)]
    if isinstance(value, (int, float, str, bytes, complex)):
        return [kind.__repr__(value) for kind in (int, float, str, bytes, complex) if isinstance(value, kind)]
    return []


def _as_tuple(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)
