"""The compiled part of Rung, where it was built: scoring of trees and affine maps, and numbers out of JSON.

Everything it does has an equal in NumPy or msgspec, so that nothing depends on it but speed.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_READER = msgspec.json.Decoder(list[float | None] | None)
_ROWS_READER = msgspec.json.Decoder(list[list[float | None]] | None)


class Kernel(Protocol):
    """What the C part offers; see native/kernel.c."""

    def forest(self, *parts: Any) -> Any:
        """A model of trees. Raises ValueError when a part of it points outside of itself."""
        ...

    def affine(self, *parts: Any) -> Any:
        """A model that is one affine map and a link. Raises ValueError."""
        ...

    def score(self, model: Any, rows: Floats, out: Floats) -> None:
        """Write the scores of the rows. Raises ValueError for rows the model does not take."""
        ...

    def numbers(self, data: bytes | bytearray | memoryview) -> tuple[bytearray, int, int]:
        """Doubles, number of rows (-1 for a flat array), and width. Raises ValueError."""
        ...

    def tensor(self, body: bytes, width: int) -> tuple[bytearray, int, str | None, tuple[str, ...] | None] | None:
        """Doubles, rows, id and names of outputs of a request in the plain form; None for any other."""
        ...

    def lane(self, *parts: Any) -> Any:
        """What answers one-row requests to a model with one score; see native/lanes.h. Raises ValueError."""
        ...

    def answer(self, lane: Any, *asked: Any) -> tuple[bytes, int, float, float] | None:
        """Answer and log a one-row request; None when it is not plain, and nothing was done."""
        ...


def _found() -> Kernel | None:
    if os.environ.get("RUNG_PURE"):  # as at the build: without the compiled part, to see that nothing depends on it
        return None
    try:
        found: Kernel = import_module("rung.stats._kernel")
    except ImportError:
        return None
    return found if hasattr(found, "answer") else None  # one that was built from older sources is none


KERNEL: Kernel | None = _found()


def floats(data: bytes | bytearray | memoryview) -> Floats:
    """The numbers of a JSON array, shape (n,), or of an array of equal arrays of them, shape (rows, width); null is NaN.

    Raises:
        ValueError: it is anything else: ragged, with texts or truth values, NaN, infinite, or cut off.

    >>> floats(b"[[1, 2.5], [null, -3e2]]").tolist()
    [[1.0, 2.5], [nan, -300.0]]
    """
    if KERNEL is None:
        return _read(data)
    found, rows, width = KERNEL.numbers(data)
    values = np.frombuffer(found, dtype=np.float64)
    return values if rows < 0 else values.reshape(rows, width)


def plain_tensor(body: bytes, width: int) -> tuple[Floats, str | None, tuple[str, ...] | None] | None:
    """Rows, id and names of outputs of an Open Inference request in its plain form; None for any other, and without the compiled part.

    The plain form is one tensor FP64 of ``width`` columns and at least a row, its shape before its data; texts are ASCII without escapes.

    >>> asked = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1,null]}]}'
    >>> plain_tensor(asked, 2) if KERNEL else (np.array([[1.0, np.nan]]), None, None)
    (array([[ 1., nan]]), None, None)
    """
    found = None if KERNEL is None else KERNEL.tensor(body, width)
    if found is None:
        return None
    data, rows, identity, names = found
    return np.frombuffer(data).reshape(rows, width), identity, names


def _read(data: bytes | bytearray | memoryview) -> Floats:
    nested = bytes(data[:64]).translate(None, b" \t\r\n").startswith(b"[[") if len(data) else False
    try:
        found = (_ROWS_READER if nested else _READER).decode(data)
        values = None if found is None else np.array(found, dtype=np.float64)
    except (msgspec.DecodeError, ValueError, TypeError):
        values = None
    if values is None or values.ndim != 1 + nested:
        raise ValueError("This is no array of numbers, nor one of such arrays of one length.")
    return values
