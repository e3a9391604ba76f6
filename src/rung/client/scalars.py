"""What may be logged as a metric or a param: plain numbers, and what other libraries call one."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

from rung.core.errors import Invalid
from rung.tracking.records import ParamValue

LONGEST_KEY = 250
LONGEST_PARAM = 8000
_INT64 = 2**63


def number(key: str, value: Any) -> float:
    """A metric's value as a double; NaN and infinities are values. Raises Invalid, naming key and value."""
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]
    plain = _plain(value)
    if isinstance(plain, (bool, int, float, Decimal, Fraction)):
        try:
            return float(plain)
        except (OverflowError, ValueError):
            raise Invalid(
                f"Metric {key!r} is {_short(value)}, beyond what a double can hold.", code="tracking.not_a_number",
                hint="Log its logarithm, or log it as a param.",
            ) from None  # fmt: skip
    shape = getattr(value, "shape", None)
    what = f"of shape {tuple(shape)}" if shape is not None else f"{_short(value)}"
    raise Invalid(
        f"Metric {key!r} is no number but a {kind.__name__} {what}.", code="tracking.not_a_number",
        hint="Log one number a key: for an array its mean, or one metric an element; texts are params or tags.",
    )  # fmt: skip


def whole(step: Any) -> int:
    """A step as an integer. Raises Invalid."""
    try:
        found = operator.index(_plain(step))
    except TypeError:
        if isinstance(step, float) and step.is_integer():
            found = int(step)
        else:
            raise Invalid(f"Step {_short(step)} is no whole number.", code="tracking.bad_step", hint="Count steps 0, 1, 2 …") from None
    if not -_INT64 <= found < _INT64:
        raise Invalid(f"Step {_short(found)} does not fit into 64 bits.", code="tracking.bad_step", hint="Count steps 0, 1, 2 …")
    return found


def name(key: Any, what: str = "Metric") -> str:
    """A key that can be kept. Raises Invalid, saying what is wrong with it."""
    if not isinstance(key, str):
        wrong = f"is a {type(key).__name__}, not a text"
    elif not key:
        wrong = "is empty"
    elif len(key) > LONGEST_KEY:
        wrong = f"has {len(key)} characters; {LONGEST_KEY} are allowed"
    elif "\0" in key:
        wrong = "holds a NUL character"
    elif not key.isascii() and any("\ud800" <= mark <= "\udfff" for mark in key):
        wrong = "holds half of a surrogate pair"
    else:
        return key
    raise Invalid(f"{what} key {_short(key)} {wrong}.", code="tracking.bad_key", hint="Choose a short name such as 'train/loss'.")


def param(key: str, value: Any) -> ParamValue:
    """A param's value: numbers, booleans, None and texts as they are, lists and dicts as JSON, all else as its text. Raises Invalid."""
    plain = _plain(value)
    if plain is None or isinstance(plain, bool):
        return plain
    if isinstance(plain, int):
        return plain if -_INT64 <= plain < _INT64 else str(Decimal(plain))
    if isinstance(plain, float):
        return plain if math.isfinite(plain) else repr(plain)
    text = _text(plain)
    if len(text) > LONGEST_PARAM:
        raise Invalid(
            f"Param {key!r} has {len(text)} characters; {LONGEST_PARAM} are allowed: {_short(text)}.", code="tracking.long_param",
            hint=f"Keep it as a file: rung.log_dict(…, '{key}.json') or rung.log_text.",
        )  # fmt: skip
    if "\0" in text:
        raise Invalid(f"Param {key!r} holds a NUL character.", code="tracking.bad_param", hint="Log bytes as an artifact.")
    return text


def params(values: Mapping[str, Any]) -> dict[str, ParamValue]:
    """Params that can be kept. Raises Invalid for the first that cannot."""
    return {name(key, "Param"): param(key, value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    """The Python number behind a scalar of NumPy, PyTorch, JAX …: anything without dimensions that has ``item``."""
    if isinstance(value, (bool, int, float, str)) or not hasattr(value, "item"):
        return value
    return value if getattr(value, "shape", None) else value.item()


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, (list, tuple, dict)):
        try:
            return json.dumps(value, ensure_ascii=False)
        except (TypeError, ValueError):
            return str(value)
    return str(value)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return f"a number of {value.bit_length()} bits"
    return text if len(text) <= 100 else f"{text[:97]}…"  # noqa: PLR2004 - enough to recognise it by
