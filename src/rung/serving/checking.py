"""Checks of a request's rows against a signature, over whole matrices at once.

The common case, one row of finite numbers, costs one sum: of Python's floats, which makes no noise about infinities.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.registry.records import Field, Signature
from rung.serving.inference import Floats

MAX_WHOLE = 2**53 - 1  # the next one is what 2**53 + 1 is rounded to
_SOME = 3
_BOUNDS = {
    "Boolean": (0, 1), "UInt8": (0, 2**8 - 1), "UInt16": (0, 2**16 - 1), "UInt32": (0, 2**32 - 1), "UInt64": (0, MAX_WHOLE),
    "Int8": (-(2**7), 2**7 - 1), "Int16": (-(2**15), 2**15 - 1), "Int32": (-(2**31), 2**31 - 1), "Int64": (-MAX_WHOLE, MAX_WHOLE),
}  # fmt: skip


def whole_bounds(signature: Signature) -> NDArray[np.float64]:
    """Smallest and largest number of each column that takes whole ones, shape (2, inputs); NaN for columns that take any number."""
    return np.array([_BOUNDS.get(field.dtype, (nan, nan)) for field in signature.inputs], dtype=np.float64).reshape(-1, 2).T


def matrix_check(signature: Signature) -> Callable[[Floats], None]:
    """A function that raises Invalid for a matrix that does not fit: its width, infinities, missing values, fractions, ranges.

    Whole numbers go through float64, so those from 2**53 on are refused rather than rounded.
    """
    fields = signature.inputs
    width = len(fields)
    needed = np.array([not field.nullable for field in fields], dtype=np.bool_)
    whole = np.array([place for place, field in enumerate(fields) if field.dtype in _BOUNDS], dtype=np.intp)
    low = np.array([_BOUNDS[fields[place].dtype][0] for place in whole], dtype=np.float64)
    high = np.array([_BOUNDS[fields[place].dtype][1] for place in whole], dtype=np.float64)
    every_whole = whole.size == width

    def check(matrix: Floats) -> None:
        if matrix.ndim != 2 or matrix.shape[1] != width:  # noqa: PLR2004 - rows by inputs
            raise Invalid(
                f"The rows have {matrix.shape[-1] if matrix.ndim else 0} columns, the model takes {width}.",
                code="serving.columns",
                hint=f"In order: {', '.join(field.name for field in fields)}.",
            )
        finite = matrix.shape[0] == 1 and isfinite(sum(matrix[0].tolist()))
        if not finite and not np.isfinite(matrix).all():
            _refuse_infinite(matrix, fields)
            _refuse_missing(matrix, fields, needed)
        if whole.size:
            part = matrix if every_whole else matrix[:, whole]
            fits = (part == np.rint(part)) & (part >= low) & (part <= high)
            if not fits.all():
                _refuse_fractions(part, fits | np.isnan(part), [fields[place] for place in whole])

    return check


def _refuse_infinite(matrix: Floats, fields: tuple[Field, ...]) -> None:
    infinite = np.asarray(np.isinf(matrix).any(axis=0))
    if infinite.any():
        raise Invalid(
            f"Input {_named(fields, infinite)} holds an infinite value; expected {_types(fields, infinite)}, finite.",
            code="serving.not_finite",
            hint="Send null for a missing number.",
        )


def _refuse_missing(matrix: Floats, fields: tuple[Field, ...], needed: NDArray[np.bool_]) -> None:
    missing = np.asarray(np.isnan(matrix).any(axis=0) & needed)
    if missing.any():
        raise Invalid(
            f"Input {_named(fields, missing)} holds null, which the model does not take; expected {_types(fields, missing)}.",
            code="serving.missing",
            hint="Send a number in every row.",
        )


def _refuse_fractions(part: Floats, fits: NDArray[np.bool_], fields: list[Field]) -> None:
    wrong = ~fits.all(axis=0)
    if not wrong.any():
        return
    place = int(np.argmax(wrong))
    value = part[~fits[:, place], place][0]
    raise Invalid(
        f"Input {fields[place].name!r} holds {float(value)!r}; expected {fields[place].dtype}.",
        code="serving.dtype",
        hint="Send whole numbers that the type can hold.",
    )


def _named(fields: tuple[Field, ...], which: NDArray[np.bool_]) -> str:
    names = [repr(field.name) for field, held in zip(fields, which.tolist(), strict=True) if held]
    return ", ".join(names[:_SOME]) + (f" and {len(names) - _SOME} more" if len(names) > _SOME else "")


def _types(fields: tuple[Field, ...], which: NDArray[np.bool_]) -> str:
    return fields[int(np.argmax(which))].dtype
