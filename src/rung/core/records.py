"""Records: frozen, keyword-only values that refuse unknown fields, and the field types they are built from.

msgspec checks types when it decodes, not when it constructs; ``checked`` is what holds an in-process caller to the
same rules as a remote one.
"""

from __future__ import annotations

import math
import re
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, dataclass_transform

import msgspec
from msgspec import Meta

from rung.core.errors import Invalid

if TYPE_CHECKING:
    # mypy finds msgspec's own dataclass transform before ours and would then refuse a required field after an
    # optional one; to the type checker a record is therefore this plain class.
    @dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
    class Record:
        """Base of every record."""

        __struct_fields__: ClassVar[tuple[str, ...]]

        def __post_init__(self) -> None: ...

else:

    class RecordMeta(msgspec.StructMeta):
        """Makes fields keyword-only in every subclass; msgspec does not inherit that option."""

        def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
            options.setdefault("kw_only", True)
            return super().__new__(mcls, name, bases, namespace, **options)

    class Record(msgspec.Struct, metaclass=RecordMeta, frozen=True, forbid_unknown_fields=True):
        """Base of every record."""


T = TypeVar("T")
K = TypeVar("K")
_SECRET = re.compile(r"secret|token|password|credential", re.IGNORECASE)
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_LONGEST_VALUE = 60
_prepared: set[Any] = set()
_preparing = threading.RLock()
R = TypeVar("R", bound=Record)

Instant = Annotated[datetime, Meta(tz=True)]
# ``$`` alone would let one line break pass behind the text.
_ID, _DIGEST = r"^[0-9a-f]{32}$(?!\n)", r"^blake3:[0-9a-f]{64}$(?!\n)"
_NAME, _NO_NUL = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)", r"^[^\x00]*$"
# A model's name is a title for people, as free as MLflow's client has it; never a file name, quoted in every address.
_MODEL_NAME = r"^(?!\.\.)(?!\.$)(?=.*[^\s])[^/:\x00-\x1f\x7f]{1,256}$(?!\n)"
_IN_WORDS = {
    _ID: "an id of 32 hex digits",
    _DIGEST: "a digest (blake3: and 64 hex digits)",
    _NAME: "a name (letters, digits, '.', '_' and '-', starting with a letter or digit, at most 128)",
    _MODEL_NAME: "a model name (1 to 256 characters without '/', ':' and control characters, not beginning with '..')",
    _NO_NUL: "text without NUL",
    r"^[^\x00]+$": "text without NUL",
}
Id = Annotated[str, Meta(pattern=_ID)]
Digest = Annotated[str, Meta(pattern=_DIGEST)]
# Names appear in addresses, file names and command lines, so they are kept to what needs quoting nowhere.
Name = Annotated[str, Meta(pattern=_NAME)]
ModelName = Annotated[str, Meta(pattern=_MODEL_NAME)]
Key = Annotated[str, Meta(min_length=1, max_length=250, pattern=r"^[^\x00]+$")]
Line = Annotated[str, Meta(max_length=1000, pattern=_NO_NUL)]
Text = Annotated[str, Meta(max_length=100_000, pattern=_NO_NUL)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Number = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
# Any double, NaN and infinities included; plain ``float`` fields are finite.
AnyFloat = Annotated[float, Meta(extra={"non_finite": True})]
Scalar = str | int | float | bool | None


class Page(Record, Generic[T]):
    """One page of a list; ``next`` is the ``after`` of the following page, None on the last."""

    items: tuple[T, ...]
    next: str | None = None


class Empty(Record):
    """Answer of a request that has nothing to say."""


def values_of(record: Record) -> dict[str, Any]:
    """Field names and values of a record, not copied deeper: what an INSERT wants."""
    return {name: getattr(record, name) for name in record.__struct_fields__}


def replaced(record: R, **changes: Any) -> R:
    """The record with some fields changed."""
    return type(record)(**{**values_of(record), **changes})


def checked(value: Any, kind: type[T]) -> T:
    """The value decoded anew as ``kind``: types, bounds and finiteness are those of the wire. Raises Invalid."""
    try:
        plain = msgspec.to_builtins(value, builtin_types=(datetime, bytes))
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"{kind.__name__} cannot be written down: {error}.", code="request.unserialisable") from None
    return decoded(plain, kind)


def prepared(kind: K) -> K:
    """A type that threads may decode at once; give it to msgspec in its place.

    msgspec looks at a record's fields when it first decodes one, in steps between which another thread may run: that one then
    meets a record that is half looked at, and the process ends with a segmentation fault. So the first look is taken alone.
    """
    if kind not in _prepared:
        with _preparing:
            msgspec.json.Decoder(kind)
            _prepared.add(kind)
    return kind


def decoded(plain: Any, kind: type[T]) -> T:
    """A record from plain values (dicts, lists, strings, numbers). Raises Invalid with the path of the fault."""
    try:
        record = msgspec.convert(plain, prepared(kind))
    except msgspec.ValidationError as error:
        raise invalid(kind, error, plain) from None
    _refuse_non_finite(plain, kind)
    return record


def invalid(kind: Any, error: Exception, plain: Any = None) -> Invalid:
    """What a decoding error says, in words instead of patterns, with the value out of ``plain``, unless that may be a secret."""
    said, at, path = in_words(error).partition(" - at `$")
    value = _at(plain, path.rstrip("`"))
    if at and isinstance(value, (str, int, float)) and not _SECRET.search(path):
        shown = repr(value) if len(repr(value)) <= _LONGEST_VALUE else f"{repr(value)[:_LONGEST_VALUE]}…"
        said += f" {shown}" if ", got " in said else f", not {shown}"
    return Invalid(
        f"{getattr(kind, '__name__', kind)}: {said}{at}{path}.",
        code="request.invalid",
        hint="Compare the request with its entry in /api/openapi.json.",
    )


def _at(plain: Any, path: str) -> Any:
    """The value at a path as msgspec writes it, ``.name[0]``; None where it cannot be followed."""
    for name, place in _STEP.findall(path):
        try:
            plain = plain[int(place)] if place else plain[name]
        except (KeyError, IndexError, TypeError):
            return None
    return plain


def in_words(error: Exception) -> str:
    """The text of a decoding error with words in the place of patterns."""
    message = str(error)
    for pattern, words in _IN_WORDS.items():
        message = message.replace(f"`str` matching regex {pattern!r}", words)
    return message


def _refuse_non_finite(plain: Any, kind: Any, path: str = "") -> None:
    if isinstance(plain, float) and not math.isfinite(plain):
        raise Invalid(
            f"{path or 'value'} is {plain}, which is not a finite number.",
            code="request.not_finite",
            hint="Leave the field out, or send a finite number.",
        )
    if isinstance(plain, dict):
        open_fields = _non_finite_fields(kind)
        for key, item in plain.items():
            if key not in open_fields:
                _refuse_non_finite(item, None, f"{path}.{key}" if path else str(key))
    elif isinstance(plain, (list, tuple)):
        for index, item in enumerate(plain):
            _refuse_non_finite(item, None, f"{path}[{index}]")


_OPEN_FIELDS: dict[Any, frozenset[str]] = {}


def _non_finite_fields(kind: Any) -> frozenset[str]:
    """Names of the fields in which NaN and infinities are values: those whose type mentions ``AnyFloat``."""
    if kind is None or not isinstance(kind, type):
        return frozenset()
    if kind not in _OPEN_FIELDS:
        try:
            fields = msgspec.structs.fields(kind)
        except TypeError:
            fields = ()
        _OPEN_FIELDS[kind] = frozenset(f.name for f in fields if _is_open(f.type))
    return _OPEN_FIELDS[kind]


def _is_open(kind: Any, within: tuple[Any, ...] = ()) -> bool:
    extras = [item.extra or {} for item in getattr(kind, "__metadata__", ()) if isinstance(item, Meta)]
    if any(extra.get("non_finite") for extra in extras):
        return True
    if isinstance(kind, type) and hasattr(kind, "__struct_fields__"):
        inside = (*within, kind)  # a record may hold records of its own kind
        return kind not in within and any(_is_open(f.type, inside) for f in msgspec.structs.fields(kind))
    return any(_is_open(argument, within) for argument in getattr(kind, "__args__", ()) if argument is not Ellipsis)
