"""Reading protocol buffers by field number, without their descriptions: enough to look through a model before it is run."""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _WIDE, _BYTES, _NARROW = 0, 1, 2, 5
_LONGEST = 10

Value = int | memoryview


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field in order: an integer, or the bytes of a text, message or packed list.

    Raises:
        ValueError: the bytes are no message.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == _BYTES:
            size, place = _varint(message, place)
        elif kind in {_WIDE, _NARROW}:
            size = 8 if kind == _WIDE else 4
        else:
            raise ValueError(f"wire type {kind}")
        if number == 0 or place + size > len(message):
            raise ValueError("a field ends after its message")
        yield number, message[place : place + size]
        place += size


def parts(message: memoryview, number: int) -> Iterator[memoryview]:
    """The texts or messages under a field number."""
    for found, value in fields(message):
        if found == number and isinstance(value, memoryview):
            yield value


def text(message: memoryview, number: int) -> str:
    """The last text under a field number, empty when there is none."""
    found = list(parts(message, number))
    return bytes(found[-1]).decode("utf-8", "replace") if found else ""


def integers(message: memoryview, number: int) -> list[int]:
    """The integers under a field number, packed or not, as signed numbers of 64 bits."""
    found: list[int] = []
    for held, value in fields(message):
        if held != number:
            continue
        if isinstance(value, int):
            found.append(value)
            continue
        place = 0
        while place < len(value):
            one, place = _varint(value, place)
            found.append(one)
    return [value - 2**64 if value >= 2**63 else value for value in found]


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(_LONGEST):
        if place >= len(message):
            raise ValueError("a number is cut off")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a number has no high bit
            return value & (2**64 - 1), place
    raise ValueError("a number is too long")
