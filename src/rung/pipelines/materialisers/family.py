"""The protocol of materialisers, the family, and the three verbs the engine uses: materialise, load, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from rung.core.digests import digest_of, digest_of_file
from rung.core.errors import Invalid, RungError
from rung.core.families import Family

Likeness = Literal["identical", "equivalent", "different"]


class Payload(msgspec.Struct, frozen=True):
    """What a value became: bytes, or a file that holds them, and what is needed besides to load them."""

    data: bytes | Path
    meta: dict[str, Any] = msgspec.field(default_factory=dict)


class Part(msgspec.Struct, frozen=True):
    """How alike one part of two values is, such as a column: the greatest difference, and that as a share of the value."""

    name: str
    likeness: Likeness
    detail: str
    absolute: float | None = None
    relative: float | None = None


class Difference(msgspec.Struct, frozen=True):
    """How alike two values are, in words, and part by part where they have parts."""

    likeness: Likeness
    detail: str
    parts: tuple[Part, ...] = ()


class Materialiser(Protocol):
    """One kind of value. Members with a greater ``rank`` are asked first."""

    rank: int

    def accepts(self, value: Any) -> bool:
        """Whether this member can write the value. Cheap, and without importing the value's library."""
        ...

    def dump(self, value: Any) -> Payload:
        """Canonical bytes: equal values give equal bytes in every process. Raises Invalid."""
        ...

    def load(self, payload: Payload, scratch: Path) -> Any:
        """A fresh value; ``scratch`` is a folder for values that are files."""
        ...

    def compare(self, original: Any, repeated: Any, tolerance: float) -> Difference:
        """How alike two values are whose bytes differ."""
        ...


MATERIALISERS: Family[Materialiser] = Family("materialisers", "rung.pipelines.materialisers")


def materialise(value: Any, *, where: str) -> tuple[str, Payload]:
    """The kind and payload of a value.

    Args:
        where: what the value is, for the message: ``output 'model' of step 'train'``.

    Raises:
        Invalid: no member can write it, or one failed to.
    """
    for name, member in sorted(MATERIALISERS.items(), key=lambda item: -item[1].rank):
        if not member.accepts(value):
            continue
        try:
            return name, member.dump(value)
        except RungError as error:
            raise Invalid(f"The {where} cannot be kept: {error.message}", code="pipelines.unserialisable", hint=error.hint) from error
        except (TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
            raise _unserialisable(where, value, str(error)) from error
    raise _unserialisable(where, value, "")


def load(kind: str, payload: Payload, scratch: Path) -> Any:
    """The value of a payload."""
    return MATERIALISERS.get(kind).load(payload, scratch)


def compare(kind: str, original: Payload, repeated: Payload, *, tolerance: float, scratch: Path) -> Difference:
    """How alike two payloads of one kind are: identical bytes, values within the tolerance, or different."""
    if _digest(original) == _digest(repeated) and original.meta == repeated.meta:
        return Difference("identical", "The bytes are equal.")
    member = MATERIALISERS.get(kind)
    return member.compare(member.load(original, scratch / "original"), member.load(repeated, scratch / "repeated"), tolerance)


def _digest(payload: Payload) -> str:
    return digest_of(payload.data) if isinstance(payload.data, bytes) else digest_of_file(payload.data)[0]


def _unserialisable(where: str, value: Any, reason: str) -> Invalid:
    kind = type(value)
    known = ", ".join(MATERIALISERS.names())
    return Invalid(
        f"The {where} is a {kind.__module__}.{kind.__qualname__}, which cannot be kept" + (f": {reason}." if reason else "."),
        code="pipelines.unserialisable",
        hint=f"Return one of these kinds: {known}; or write a file and return its Path.",
    )
