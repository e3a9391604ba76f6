"""Plain values: scalars and containers of them, as canonical JSON. What JSON has no word for is tagged with ``$``."""

from __future__ import annotations

import base64
import math
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from rung.core.errors import Invalid
from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Payload

_SCALARS = (str, bool, type(None))
_LARGEST = 2**53
_DEEPEST = 200


@MATERIALISERS.member("json")
class Json:
    """str, int, float (NaN and infinities too), bool, None, bytes, dates, Decimal, and list, tuple, set, dict of them."""

    rank = 100

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether every part of the value is plain."""
        return is_plain(value)

    @staticmethod
    def dump(value: Any) -> Payload:
        """Canonical JSON."""
        return Payload(msgspec.json.encode(tagged(value), order="sorted"))

    @staticmethod
    def load(payload: Payload, scratch: Path) -> Any:
        """The value."""
        return untagged(msgspec.json.decode(_bytes(payload)))

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Numbers within the tolerance, relative to the greater one; everything else equal."""
        return compare_plain(original, repeated, tolerance)


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value consists of plain parts only."""
    kind = type(value)
    if kind in _SCALARS or kind in {int, float, bytes, date, datetime, time, timedelta, Decimal} or _is_numpy_scalar(value):
        return True
    if depth > _DEEPEST:
        return False
    if kind in {list, tuple, set, frozenset}:
        return all(is_plain(item, depth + 1) for item in value)
    return kind is dict and all(is_plain(k, depth + 1) and is_plain(v, depth + 1) for k, v in value.items())


def tagged(value: Any) -> Any:  # noqa: PLR0912 - a table of types reads best as one
    """The value in JSON's words, with tags where it has none."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if _is_numpy_scalar(value):
        return tagged(value.item())
    if kind is int:
        return value if -_LARGEST <= value <= _LARGEST else {"$int": str(value)}
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind is list:
        return [tagged(item) for item in value]
    if kind is tuple:
        return {"$tuple": [tagged(item) for item in value]}
    if kind in {set, frozenset}:
        items = [tagged(item) for item in value]
        return {"$" + kind.__name__: sorted(items, key=lambda item: msgspec.json.encode(item, order="sorted"))}
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: tagged(item) for key, item in value.items()}
        return {"$dict": [[tagged(key), tagged(item)] for key, item in value.items()]}
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode()}
    if kind in {date, datetime, time}:
        return {"$" + kind.__name__: value.isoformat()}
    if kind is timedelta:
        return {"$timedelta": value // timedelta(microseconds=1)}
    if kind is Decimal:
        return {"$decimal": str(value)}
    raise Invalid(f"{kind.__name__} is not a plain value.", code="pipelines.unserialisable")


def untagged(value: Any) -> Any:
    """The value behind JSON's words."""
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, inner),) = value.items()
        if tag in _TAGS:
            return _TAGS[tag](inner)
    return {key: untagged(item) for key, item in value.items()}


_TAGS: dict[str, Any] = {
    "$int": int,
    "$float": float,
    "$tuple": lambda items: tuple(untagged(item) for item in items),
    "$set": lambda items: {untagged(item) for item in items},
    "$frozenset": lambda items: frozenset(untagged(item) for item in items),
    "$dict": lambda pairs: {untagged(key): untagged(item) for key, item in pairs},
    "$bytes": base64.b64decode,
    "$date": date.fromisoformat,
    "$datetime": datetime.fromisoformat,
    "$time": time.fromisoformat,
    "$timedelta": lambda micros: timedelta(microseconds=micros),
    "$decimal": Decimal,
}


def compare_plain(original: Any, repeated: Any, tolerance: float, path: str = "") -> Difference:
    """Compare two plain values part by part; the first difference is named by its path."""
    here = path or "value"
    numbers = (int, float)
    if isinstance(original, numbers) and isinstance(repeated, numbers) and not isinstance(original, bool):
        if original == repeated or (original != original and repeated != repeated):  # noqa: PLR0124 - NaN
            return Difference("identical", "equal")
        gap = abs(original - repeated) / max(abs(original), abs(repeated), 1e-300)
        if gap <= tolerance:
            return Difference("equivalent", f"{here} differs by {gap:.3g} of itself")
        return Difference("different", f"{here} was {original!r}, is {repeated!r}")
    if type(original) is not type(repeated):
        return Difference("different", f"{here} was a {type(original).__name__}, is a {type(repeated).__name__}")
    parts: list[tuple[Any, Any, str]]
    if isinstance(original, dict):
        if set(original) != set(repeated):
            return Difference("different", f"{here} has other keys: {sorted(map(str, set(original) ^ set(repeated)))}")
        parts = [(original[key], repeated[key], f"{path}.{key}" if path else str(key)) for key in original]
    elif isinstance(original, (list, tuple)):
        if len(original) != len(repeated):
            return Difference("different", f"{here} had {len(original)} items, has {len(repeated)}")
        parts = [(a, b, f"{path}[{index}]") for index, (a, b) in enumerate(zip(original, repeated, strict=True))]
    else:
        return (
            Difference("identical", "equal")
            if original == repeated
            else Difference("different", f"{here} was {original!r}, is {repeated!r}"[:500])
        )
    worst = Difference("identical", "equal")
    for a, b, name in parts:
        found = compare_plain(a, b, tolerance, name)
        if found.likeness == "different":
            return found
        worst = found if found.likeness == "equivalent" else worst
    return worst


def _is_numpy_scalar(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic) and not isinstance(value, numpy.void) and value.dtype.kind in "biufU"


def _bytes(payload: Payload) -> bytes:
    return payload.data if isinstance(payload.data, bytes) else payload.data.read_bytes()
