"""Tensors of the Open Inference Protocol: what REST and gRPC have in common.

A request's tensors are one a column ([n] or [n, 1]), or one of shape [n, columns] in the signature's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.serving.codecs.form import Form, Tensor, form_of
from rung.serving.codecs.tabular import asked_of_columns
from rung.serving.inference import Asked, Floats, Rows, Target

NUMPY = {
    "BOOL": np.dtype("?"), "UINT8": np.dtype("<u1"), "UINT16": np.dtype("<u2"), "UINT32": np.dtype("<u4"), "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"), "INT16": np.dtype("<i2"), "INT32": np.dtype("<i4"), "INT64": np.dtype("<i8"), "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"),
}  # fmt: skip
DATATYPES = (*NUMPY, "BYTES")
_LONG = 100
_MAX_RANK = 32


@dataclass(slots=True)
class Input:
    """One tensor of a request: either ``values``, flat or nested or an array of its datatype, or ``raw``, its bytes in little-endian and row-major order."""

    name: str
    datatype: str
    shape: list[int]
    values: Any = None
    raw: bytes | memoryview | None = None


def asked_of_inputs(inputs: list[Input], target: Target) -> Asked:
    """What tensors ask. Raises Invalid, naming the input, what was expected and what came."""
    if not inputs:
        raise Invalid("The request has no inputs.", code="oip.no_inputs", hint="Send one tensor a column, or one of shape [n, columns].")
    form = form_of(target.version)
    arrays: dict[str, Any] = {}
    for item in inputs:
        if item.name in arrays:
            raise Invalid(f"Input {item.name[:_LONG]!r} is there twice.", code="oip.duplicate_input", hint="Send each input once.")
        arrays[item.name] = array_of(item)
    if len(inputs) == 1 and _is_grid(inputs[0], form):
        return _asked_of_grid(inputs[0], arrays[inputs[0].name], target)
    for item in inputs:
        if len(item.shape) != 1 and (len(item.shape) == 0 or prod(item.shape[1:]) != 1):
            raise Invalid(
                f"Input {item.name[:_LONG]!r} has shape {item.shape}, expected [n] or [n, 1] for a column{_or_grid(form, len(inputs))}.",
                code="oip.shape", hint="Send one tensor a column, or one of shape [n, columns] alone.",
            )  # fmt: skip
    return asked_of_columns(arrays, target)


def array_of(item: Input) -> Any:
    """A tensor's values, flat: an array of its datatype (doubles where a value is null), or a list of texts."""
    if item.datatype not in DATATYPES:
        raise Invalid(
            f"Input {item.name[:_LONG]!r} has datatype {item.datatype[:_LONG]!r}.",
            code="oip.datatype",
            hint=f"Known: {', '.join(DATATYPES)}.",
        )
    if len(item.shape) > _MAX_RANK or any(not 0 <= length < 2**63 for length in item.shape):
        raise Invalid(
            f"Input {item.name[:_LONG]!r} has shape {str(item.shape)[:_LONG]}.", code="oip.shape", hint="Send lengths of 0 or more."
        )
    size = prod(item.shape)
    values = _unpacked(item, size) if item.raw is not None else _listed(item, size)
    if len(values) != size:
        raise Invalid(
            f"Input {item.name[:_LONG]!r} has {len(values)} values, its shape {str(item.shape)[:_LONG]} asks for {size}.",
            code="oip.shape", hint="Make them agree.",
        )  # fmt: skip
    return values


def fits(array: Floats, datatype: str) -> Floats | None:
    """Numbers as doubles, rounded as the datatype rounds them; None when one is no number of that type."""
    if datatype == "FP64":
        return array
    kind = NUMPY.get(datatype)
    if kind is None or kind.kind == "b":
        return None
    if kind.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = array.astype(kind).astype(np.float64)
        return rounded if bool((np.isinf(rounded) == np.isinf(array)).all()) else None
    limits = np.iinfo(kind.name)
    known = array[~np.isnan(array)]
    whole = bool((known == np.floor(known)).all()) and bool((known >= limits.min).all()) and bool((known < float(limits.max + 1)).all())
    return array if whole else None


def packed(tensor: Tensor) -> bytes:
    """A tensor's bytes in little-endian and row-major order; a text is its length in four bytes and its UTF-8."""
    if tensor.datatype == "BYTES":
        parts = [text.encode() for text in tensor.values]
        return b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    return np.ascontiguousarray(tensor.values, dtype=NUMPY[tensor.datatype]).tobytes()


def _is_grid(item: Input, form: Form) -> bool:
    return len(item.shape) == 2 and (item.name not in form.dtypes or form.width > 1)  # noqa: PLR2004 - rows by columns


def _or_grid(form: Form, count: int) -> str:
    return f", or [n, {form.width}] for all {form.width} columns in order" if count == 1 else ""


def _asked_of_grid(item: Input, values: Any, target: Target) -> Asked:
    form = form_of(target.version)
    rows, width = item.shape
    if width != form.width:
        raise Invalid(
            f"Input {item.name[:_LONG]!r} has {width} columns, expected {form.width}.", code="oip.shape",
            hint=f"In order: {', '.join(form.names[:20])}{' …' if form.width > 20 else ''}.",  # noqa: PLR2004 - as many as one reads
        )  # fmt: skip
    if isinstance(values, np.ndarray):
        grid = values.reshape(rows, width)
        if target.numeric and values.dtype.kind != "b":
            return Asked(rows=Rows(matrix=np.ascontiguousarray(grid, dtype=np.float64)))
        return asked_of_columns({name: grid[:, place] for place, name in enumerate(form.names)}, target)
    return asked_of_columns({name: values[place::width] for place, name in enumerate(form.names)}, target)


def _listed(item: Input, size: int) -> Any:
    if isinstance(item.values, np.ndarray):
        return item.values
    values = _flat(item)
    if len(values) != size:
        return values  # told by the caller
    kinds = set(map(type, values))
    if item.datatype == "BYTES":
        if not kinds <= {str, type(None)}:
            raise _not_of(item, next(value for value in values if value is not None and type(value) is not str))
        return values
    if item.datatype == "BOOL":
        if not kinds <= {bool}:
            raise _not_of(item, next(value for value in values if type(value) is not bool))
        return np.array(values, dtype=np.bool_)
    if not kinds <= {int, float, type(None)}:
        raise _not_of(item, next(value for value in values if type(value) not in {int, float, type(None)}))
    return _array(item, values, kinds)


def _array(item: Input, values: list[Any], kinds: set[type]) -> NDArray[Any]:
    kind = NUMPY[item.datatype]
    try:
        if kind.kind in "iu" and kinds <= {int}:
            limits = np.iinfo(kind.name)
            if values and not (limits.min <= min(values) and max(values) <= limits.max):
                raise OverflowError
            return np.array(values, dtype=kind)
        found = fits(np.array(values, dtype=np.float64), item.datatype)
    except OverflowError:
        found = None
    if found is None:
        odd = next((value for value in values if value is not None and _alone(value, item.datatype) is None), None)
        raise _not_of(item, odd)
    return found if None in values or kind.kind == "f" else found.astype(kind)


def _alone(value: Any, datatype: str) -> Floats | None:
    try:
        return fits(np.array([value], dtype=np.float64), datatype)
    except OverflowError:
        return None


def _flat(item: Input) -> list[Any]:
    data = item.values
    if not isinstance(data, list):
        raise Invalid(
            f"Input {item.name[:_LONG]!r} has no data array.", code="oip.no_data", hint="Send data as a JSON array, flat or nested."
        )
    lengths = [len(data)]
    while data and isinstance(data[0], list):
        if len(lengths) >= max(len(item.shape), 1):
            raise _uneven(item, f"nested {len(lengths) + 1} deep or more")
        if not all(isinstance(part, list) for part in data) or len({len(part) for part in data}) != 1:
            raise _uneven(item, "nested unevenly")
        lengths.append(len(data[0]))
        data = [value for part in data for value in part]
    if len(lengths) > 1 and lengths != item.shape:
        raise _uneven(item, f"nested as {lengths}")
    return data


def _uneven(item: Input, said: str) -> Invalid:
    return Invalid(
        f"The data of input {item.name[:_LONG]!r} is {said}, its shape is {str(item.shape)[:_LONG]}.", code="oip.ragged",
        hint="Nest as the shape says, or send a flat array.",
    )  # fmt: skip


def _not_of(item: Input, value: Any) -> Invalid:
    return Invalid(
        f"Input {item.name[:_LONG]!r} is {item.datatype}, and holds {str(value)[:_LONG]!r}.", code="oip.values",
        hint="Send values of the datatype it declares.",
    )  # fmt: skip


def _unpacked(item: Input, size: int) -> Any:
    raw = item.raw if item.raw is not None else b""
    if item.datatype == "BYTES":
        return _texts(item, bytes(raw))
    kind = NUMPY[item.datatype]
    if len(raw) != size * kind.itemsize:
        raise Invalid(
            f"Input {item.name[:_LONG]!r} has {len(raw)} bytes, its shape {str(item.shape)[:_LONG]} of {item.datatype} "
            f"asks for {size * kind.itemsize}.",
            code="oip.binary", hint="Send whole tensors, little-endian.",
        )  # fmt: skip
    found = np.frombuffer(raw, dtype=kind)
    return found if found.flags.aligned else found.copy()  # behind JSON of any length


def _texts(item: Input, raw: bytes) -> list[str]:
    found, offset = [], 0
    try:
        while offset < len(raw):
            end = offset + 4 + int.from_bytes(raw[offset : offset + 4], "little")
            if end > len(raw) or offset + 4 > len(raw):
                raise ValueError(f"a text of {end - offset - 4} bytes ends behind its end")
            found.append(raw[offset + 4 : end].decode())
            offset = end
    except ValueError as error:
        raise Invalid(
            f"Input {item.name[:_LONG]!r} is no tensor of BYTES: {str(error)[:_LONG]}.", code="oip.binary",
            hint="Send each text as its length in four little-endian bytes and its UTF-8.",
        ) from None  # fmt: skip
    return found
