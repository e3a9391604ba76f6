"""Universal Binary JSON as XGBoost writes it: read without XGBoost, so that a booster is looked through before it is loaded."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

_DEEPEST = 30
_NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_PLAIN = {"T": True, "F": False, "Z": None}


def read_ubjson(data: bytes) -> Any:
    """The value of a document; arrays of numbers are NumPy's. Raises ValueError for anything else than one whole document."""
    reader = _Reader(data)
    try:
        value = reader.value(reader.mark(), 0)
    except (struct.error, IndexError, UnicodeDecodeError, MemoryError, OverflowError) as error:
        raise ValueError(str(error)) from None
    if reader.place != len(data):
        raise ValueError("bytes follow the document")
    return value


class _Reader:
    """A place in the bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def mark(self) -> str:
        """The next type mark, no-operations left out."""
        while True:
            mark = chr(self.data[self.place])
            self.place += 1
            if mark != "N":
                return mark

    def value(self, mark: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("nested too deep")
        if mark in _NUMBERS:
            return self._numbers(mark, 1)[0].item()
        if mark in _PLAIN:
            return _PLAIN[mark]
        if mark == "S":
            return self._text()
        if mark == "{":
            return self._object(depth)
        if mark == "[":
            return self._array(depth)
        raise ValueError(f"unknown mark {mark!r}")

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.data[self.place] != ord("}"):
            name = self._text()
            if name in found:
                raise ValueError(f"{name!r} is there twice")  # two readers could choose differently
            found[name] = self.value(self.mark(), depth + 1)
        self.place += 1
        return found

    def _array(self, depth: int) -> Any:
        kind = None
        if self.data[self.place] == ord("$"):
            kind = chr(self.data[self.place + 1])
            self.place += 2
        if self.data[self.place] == ord("#"):
            self.place += 1
            count = self._count()
            if kind is not None:
                return self._numbers(kind, count)
            return [self.value(self.mark(), depth + 1) for _ in range(count)]
        if kind is not None:
            raise ValueError("a typed array without a length")
        found = []
        while self.data[self.place] != ord("]"):
            found.append(self.value(self.mark(), depth + 1))
        self.place += 1
        return found

    def _count(self) -> int:
        mark = self.mark()
        count = self._numbers(mark, 1)[0].item() if mark in "iUIlL" else -1
        if not 0 <= count <= len(self.data):
            raise ValueError("a length that the bytes cannot hold")
        return int(count)

    def _text(self) -> str:
        size = self._count()
        text = self.data[self.place : self.place + size]
        if len(text) != size:
            raise ValueError("a text is cut off")
        self.place += size
        return text.decode("utf-8")

    def _numbers(self, kind: str, count: int) -> Any:
        if kind not in _NUMBERS:
            raise ValueError(f"an array of {kind!r}")
        dtype = np.dtype(_NUMBERS[kind])
        if self.place + count * dtype.itemsize > len(self.data):
            raise ValueError("numbers are cut off")
        found = np.frombuffer(self.data, dtype, count, self.place)
        self.place += count * dtype.itemsize
        return found
