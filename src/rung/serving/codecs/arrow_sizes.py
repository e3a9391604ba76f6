"""What an Arrow stream says of itself before anything is unpacked: its columns, rows and bytes, out of the heads of its messages.

Sources: Apache Arrow, "Columnar format: serialization and interprocess communication", format/Message.fbs and format/Schema.fbs;
FlatBuffers, "Internals". Only what is announced is read here, so a small stream that stands for a huge table costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct, error
from typing import Any

_U16, _I32, _U32, _I64 = Struct("<H"), Struct("<i"), Struct("<I"), Struct("<q")
_PREFIX = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_MOST_NAMES = 100_000


@dataclass
class Announced:
    """Names of the columns, number of rows, and bytes of all buffers once they are unpacked."""

    names: list[str] = field(default_factory=list)
    rows: int = 0
    size: int = 0


def announced(body: bytes) -> Announced:
    """What a stream announces. Raises ValueError for bytes that are no stream."""
    found, at = Announced(), 0
    try:
        while at + 4 <= len(body):
            (length,) = _U32.unpack_from(body, at)
            at += 4
            if length == _PREFIX:
                (length,) = _U32.unpack_from(body, at)
                at += 4
            if length == 0:
                break
            message = _table(body, at)
            kind, head = _byte(body, message, 1), _reference(body, message, 2)
            behind = at + length
            if head is not None:
                _note(found, body, kind, head, behind)
            at = behind + max(0, _long(body, message, 3))
    except (error, IndexError, UnicodeDecodeError):
        raise ValueError("it is cut off, or damaged") from None
    return found


def _note(found: Announced, body: bytes, kind: int, head: int, data: int) -> None:
    if kind == _SCHEMA:
        fields = _reference(body, head, 1)
        for place in _places(body, fields, 4):
            name = _reference(body, place + _U32.unpack_from(body, place)[0], 0)
            length = 0 if name is None else _U32.unpack_from(body, name)[0]
            found.names.append("" if name is None else body[name + 4 : name + 4 + length].decode())
        return
    batch = _reference(body, head, 1) if kind == _DICTIONARY else head if kind == _BATCH else None
    if batch is None:
        return
    rows = _long(body, batch, 0)
    if rows < 0:
        raise ValueError(f"it announces {rows} rows")
    found.rows += rows if kind == _BATCH else 0
    packed = _field(body, batch, 3) is not None
    for place in _places(body, _reference(body, batch, 2), 16):
        offset, length = _I64.unpack_from(body, place)[0], _I64.unpack_from(body, place + 8)[0]
        if length < 0 or offset < 0 or data + offset + length > len(body):
            raise ValueError("a buffer ends behind its end")
        unpacked = _I64.unpack_from(body, data + offset)[0] if packed and length >= 8 else length  # noqa: PLR2004 - the length before it
        found.size += length if unpacked < 0 else unpacked


def _field(body: bytes, table: int, number: int) -> int | None:
    """Where a field of a table lies; None when it is not there."""
    virtual = table - _I32.unpack_from(body, table)[0]
    if virtual < 0:
        raise IndexError
    (size,) = _U16.unpack_from(body, virtual)
    slot = 4 + 2 * number
    offset: int = _U16.unpack_from(body, virtual + slot)[0] if slot + 2 <= size else 0
    return table + offset if offset else None


def _table(body: bytes, at: int) -> int:
    return int(at + _U32.unpack_from(body, at)[0])


def _reference(body: bytes, table: int, number: int) -> int | None:
    place = _field(body, table, number)
    return None if place is None else _table(body, place)


def _byte(body: bytes, table: int, number: int) -> int:
    place = _field(body, table, number)
    return 0 if place is None else body[place]


def _long(body: bytes, table: int, number: int) -> int:
    place = _field(body, table, number)
    return 0 if place is None else int(_I64.unpack_from(body, place)[0])


def _places(body: bytes, vector: int | None, width: int) -> Any:
    """Where the items of a vector lie."""
    if vector is None:
        return ()
    (count,) = _U32.unpack_from(body, vector)
    if count > _MOST_NAMES or vector + 4 + count * width > len(body):
        raise ValueError("a list in it ends behind its end")
    return range(vector + 4, vector + 4 + count * width, width)
