"""How MLflow writes things down: milliseconds, NaN as a word, infinity as the greatest double, enums as names.

Bodies decode leniently in numbers only (64-bit integers arrive as numbers or as texts) and ignore fields we do not know,
as a protocol-buffer server does; a missing or mistyped field is the caller's error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, dataclass_transform

import msgspec
from msgspec import Meta

from rung.core.clock import from_micros, to_micros
from rung.core.errors import Invalid
from rung.core.records import Int64, Record, prepared

B = TypeVar("B", bound="Body")
_GREATEST = 1.7976931348623157e308
_MICROS = 1000
_STATUSES = {"running": "RUNNING", "scheduled": "SCHEDULED", "succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
STATUS_OF = {theirs: ours for ours, theirs in _STATUSES.items()}
# Their milliseconds as far as our microseconds reach, years 1 to 9999.
Millis = Annotated[int, Meta(ge=-62_135_596_800_000, le=253_402_300_799_999)]
Step = Int64


if TYPE_CHECKING:

    @dataclass_transform(kw_only_default=True, frozen_default=True)
    class Body(Record):
        """Base of the bodies that rows decode; unknown fields are ignored."""

else:
    from rung.core.records import RecordMeta

    class Body(msgspec.Struct, metaclass=RecordMeta, frozen=True):
        """Base of the bodies that rows decode; unknown fields are ignored."""


class Tag(Body):
    """A key and a value, for tags and params."""

    key: Annotated[str, Meta(min_length=1, max_length=250)]
    value: str = ""


def decode_json(body: bytes, kind: type[B]) -> B:
    """A body from JSON; bare NaN and Infinity are taken as MLflow's own clients send them. Raises Invalid."""
    try:
        return msgspec.json.decode(body or b"{}", type=prepared(kind), strict=False)
    except msgspec.ValidationError as error:
        raise _bad(kind, error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_loosely(body, kind)


def decode_query(query: Mapping[str, Sequence[str]], kind: type[B]) -> B:
    """A body from a query string: lists by repeated key, booleans as true or false. Raises Invalid."""
    fields = msgspec.structs.fields(kind)  # type: ignore[arg-type]  # a Struct, see core.records
    lists = {field.encode_name for field in fields if "tuple" in str(field.type)}
    plain = {name: tuple(values) if name in lists else values[-1] for name, values in query.items() if values}
    return convert(plain, kind)


def convert(plain: Any, kind: type[B]) -> B:
    """A body from plain values. Raises Invalid."""
    try:
        return msgspec.convert(plain, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _bad(kind, error) from None


def encode(answer: Any) -> bytes:
    """An answer as JSON."""
    return msgspec.json.encode(answer)


def number(value: float) -> float | str:
    """A double as MLflow answers it."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else math.copysign(_GREATEST, value)


def value_of(value: float | str) -> float:
    """A double as MLflow sends it: a number, or the words NaN, Infinity, -Infinity. Raises Invalid."""
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise Invalid(f"{str(value)[:60]!r} is not a metric value.", code="mlflow.bad_value", hint="Send a double.") from None


def millis(at: datetime) -> int:
    """An instant in milliseconds since 1970."""
    return to_micros(at) // _MICROS


def instant(ms: int) -> datetime:
    """The instant of milliseconds since 1970."""
    return from_micros(ms * _MICROS)


def status(ours: str) -> str:
    """A run's status by MLflow's name."""
    return _STATUSES[ours]


def pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A mapping as the list of keys and values that MLflow wants."""
    return [{"key": key, "value": value} for key, value in values.items()]


def mapped(tags: Sequence[Tag]) -> dict[str, str]:
    """Keys and values as a mapping; the last of equal keys counts."""
    return {tag.key: tag.value for tag in tags}


def without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that say something: protocol buffers leave empty lists and unset fields out."""
    return {name: value for name, value in fields.items() if value is not None and value != []}


def _decode_loosely(body: bytes, kind: type[B]) -> B:
    try:
        plain = json.loads(body, parse_int=_integer)
        json.dumps(plain, ensure_ascii=False).encode()  # half a surrogate pair is no text, and nothing below us could write it
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Invalid(f"The body is no JSON: {reason}"[:500], code="mlflow.bad_json", hint="Send a JSON object.") from None
    return convert(plain, kind)


def _integer(text: str) -> int | float:
    return int(text) if len(text) < 4000 else math.inf  # noqa: PLR2004 - Python refuses longer ones with a traceback


def _bad(kind: type[Body], error: Exception) -> Invalid:
    message = str(error).replace("`", "'")
    return Invalid(f"Invalid value in the request: {message}"[:2000], code="mlflow.bad_field", hint="")
