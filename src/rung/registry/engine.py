"""What a serving engine is: how a model's files become an artifact that answers alike, faster and without the model's library.

An artifact is a program of plain arrays: where each column comes from, steps over a matrix of doubles, a body that scores.
Whoever loads one needs NumPy and nothing else, and believes nothing in it: every index is compared with what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from rung.core.families import Family
from rung.core.references import Task

if TYPE_CHECKING:
    from rung.registry.program import Program
    from rung.registry.records import Field

Floats = NDArray[np.float64]
_KINDS = {"<f8", "<u4", "<i8"}


class NotHeld(Exception):
    """The engine cannot answer exactly as this model does; the message says why."""


class Model(msgspec.Struct, frozen=True):
    """A version as engines see it. ``estimator`` is read when first asked for; files of boosters are told by their format."""

    format: str
    files: Mapping[str, bytes]
    inputs: tuple[Field, ...]
    task: Task
    classes: Sequence[Any]
    estimator: Callable[[], Any]


class Engine(Protocol):
    """A member of the family. Those of lower ``rank`` are tried first; ``automatic`` ones unasked.

    ``tolerance`` is the largest difference to the model's own scores, in units of max(1, |score|), with which it serves.
    """

    rank: int
    automatic: bool
    tolerance: float

    def compile(self, model: Model) -> Program:
        """The program. Raises NotHeld, with the reason, for a model that it cannot hold exactly."""
        ...


ENGINES: Family[Engine] = Family("engines", "rung.registry.engines")


def _encoded(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        plain = value.view(np.uint8).reshape(-1) if value.dtype.names else value.astype(value.dtype.newbyteorder("<"), copy=False)
        return {
            "dtype": "nodes" if value.dtype.names else plain.dtype.str,
            "shape": value.shape,
            "data": np.ascontiguousarray(plain).tobytes(),
        }
    raise NotImplementedError(f"an artifact holds no {type(value).__name__}")


class _Array(msgspec.Struct):
    dtype: str
    shape: list[int]
    data: bytes


def _decoded(kind: type, value: Any) -> Any:
    if kind is not np.ndarray:
        raise ValueError(f"an artifact holds no {kind}")
    held = msgspec.convert(value, _Array)
    if held.dtype == "nodes":
        from rung.stats.ensembles import NODE  # noqa: PLC0415 - known by then

        return np.frombuffer(held.data, NODE)
    if held.dtype not in _KINDS or any(size < 0 for size in held.shape):
        raise ValueError(f"an artifact holds no array of {held.dtype}")
    return np.frombuffer(held.data, held.dtype).reshape(held.shape)


def packed(program: Program) -> bytes:
    """The artifact's bytes. Equal programs give equal bytes."""
    return msgspec.msgpack.encode(program, enc_hook=_encoded)


def unpacked(data: bytes) -> Program:
    """The program of an artifact. Raises ValueError for bytes that hold none, or one that points outside of itself."""
    from rung.registry.program import Program  # noqa: PLC0415 - it needs what is above

    try:
        found = msgspec.msgpack.decode(data, type=Program, dec_hook=_decoded)
        found.check()
    except (msgspec.DecodeError, KeyError, TypeError, IndexError, OverflowError, MemoryError, RecursionError) as error:
        raise ValueError(f"The artifact is damaged: {error}") from None
    return found
