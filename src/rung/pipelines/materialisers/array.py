"""NumPy arrays in the npy format, version 1, little-endian, C order; arrays of objects are refused."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from rung.core.errors import Invalid
from rung.pipelines.materialisers.family import MATERIALISERS, Difference, Part, Payload


@MATERIALISERS.member("numpy")
class Array:
    """numpy.ndarray of numbers, booleans, instants or text."""

    rank = 90

    @staticmethod
    def accepts(value: Any) -> bool:
        """Whether it is an array."""
        numpy = sys.modules.get("numpy")
        return numpy is not None and type(value) is numpy.ndarray

    @staticmethod
    def dump(value: Any) -> Payload:
        """The npy bytes."""
        import numpy as np  # noqa: PLC0415 - pipelines without arrays never load it

        if value.dtype.hasobject:
            raise Invalid(
                "an array of Python objects has no canonical bytes.",
                code="pipelines.unserialisable",
                hint="Convert it to numbers, text or a frame.",
            )
        buffer = io.BytesIO()
        native = value.astype(value.dtype.newbyteorder("<"), copy=False)
        np.lib.format.write_array(buffer, np.ascontiguousarray(native).reshape(value.shape), version=(1, 0), allow_pickle=False)
        return Payload(buffer.getvalue())

    @staticmethod
    def load(payload: Payload, scratch: Path) -> Any:
        """The array."""
        import numpy as np  # noqa: PLC0415 - pipelines without arrays never load it

        source = io.BytesIO(payload.data) if isinstance(payload.data, bytes) else payload.data
        return np.load(source, allow_pickle=False)

    @staticmethod
    def compare(original: Any, repeated: Any, tolerance: float) -> Difference:
        """Shape and type equal, numbers within the tolerance of the greater one."""
        return compare_arrays(original, repeated, tolerance, "array")


def compare_arrays(original: Any, repeated: Any, tolerance: float, name: str) -> Difference:
    """How alike two arrays are."""
    import numpy as np  # noqa: PLC0415 - see dump

    if original.shape != repeated.shape or original.dtype != repeated.dtype:
        return Difference("different", f"{name} was {original.dtype}{list(original.shape)}, is {repeated.dtype}{list(repeated.shape)}")
    if original.dtype.kind not in "fc":
        share = float(np.mean(original != repeated)) if original.size else 0.0
        return Difference("identical", "equal") if share == 0 else Difference("different", f"{share:.3%} of {name} differ")
    if np.array_equal(original, repeated, equal_nan=True):
        return Difference("identical", "equal")
    with np.errstate(all="ignore"):
        distance = np.abs(original - repeated)
        gap = distance / np.maximum(np.maximum(np.abs(original), np.abs(repeated)), 1e-300)
    equal = (original == repeated) | (np.isnan(original) & np.isnan(repeated))
    gap, distance = (np.where(equal, 0.0, np.where(np.isnan(values), np.inf, values)) for values in (gap, distance))
    relative, absolute = float(gap.max()), float(distance.max())
    unlike = f"{float(np.mean(~equal)):.3%} of it" if original.ndim else "it"
    if relative <= tolerance:
        said = Difference("equivalent", f"{name} differs by at most {relative:.3g} of itself")
    else:
        said = Difference("different", f"{name} differs by up to {relative:.3g} of itself")
    part = Part(name, said.likeness, f"{unlike} differs by up to {absolute:.3g}, {relative:.3g} of itself", absolute, relative)
    return Difference(said.likeness, said.detail, (part,))
