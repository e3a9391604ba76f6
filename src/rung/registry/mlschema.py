"""MLflow's signatures and input examples in our words. What has no word here, arrays of pictures say, is told as a reason."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

from rung.core.errors import Invalid
from rung.registry.format import Traits, columns_f
from rung.registry.matching import dtype_of
from rung.registry.records import Field

_MOST_COLUMNS = 10_000
_EXAMPLE_ROWS = 100
_DATETIME = "Datetime(time_unit='us', time_zone=None)"
_COLUMN_TYPES = {
    "double": "Float64", "float": "Float32", "long": "Int64", "integer": "Int32", "string": "String", "boolean": "Boolean",
    "datetime": _DATETIME,
}  # fmt: skip
_ARRAY_TYPES = {
    "float64": "Float64", "float32": "Float32", "float16": "Float32", "int64": "Int64", "int32": "Int32", "int16": "Int16", "int8": "Int8",
    "uint64": "UInt64", "uint32": "UInt32", "uint16": "UInt16", "uint8": "UInt8", "bool": "Boolean", "object": "String", "str": "String",
}  # fmt: skip
_MATRIX = 2


class _Array(msgspec.Struct):
    """Type and shape of an array; -1 is any length."""

    dtype: str
    shape: list[int]


class _Column(msgspec.Struct):
    """One entry of a signature: a column of a type, or an array."""

    type: str
    name: str | int | None = None
    required: bool = True
    optional: bool = False
    array: _Array | None = msgspec.field(default=None, name="tensor-spec")


@dataclass(frozen=True)
class Asked:
    """Columns a signature asks for; ``reason`` says why there are none that rows of a table could fill."""

    fields: tuple[Field, ...] = ()
    reason: str = ""


def asked_by(text: str, traits: Traits) -> Asked:
    """The inputs of a signature's JSON. Names it does not give are the model's own, or f0, f1, …"""
    try:
        columns = msgspec.json.decode(text, type=list[_Column])
    except (msgspec.DecodeError, RecursionError) as error:
        return Asked(reason=f"Its signature is written in no way known here ({str(error)[:200]}).")
    if not columns or len(columns) > _MOST_COLUMNS:
        return Asked(reason=f"Its signature asks for {len(columns)} columns.")
    if len(columns) == 1 and columns[0].array is not None and columns[0].name is None:
        return _array(columns[0].array, traits)
    own = traits.inputs if len(traits.inputs) == len(columns) else columns_f(len(columns))
    fields = []
    for column, known in zip(columns, own, strict=True):
        kind = _kind(column)
        if kind is None:
            return Asked(reason=f"Its signature asks for {_told(column)}, which no column of a table holds.")
        name = known.name if column.name is None else str(column.name)
        optional = column.optional or not column.required
        fields.append(Field(name=name, dtype=kind, nullable=optional, optional=optional))
    return _sorted(tuple(fields), traits)


def example_frame(data: bytes, orient: str, fields: tuple[Field, ...]) -> pl.DataFrame | None:
    """The first rows of an input example, in the fields' types; None for one that is no table or does not fit them."""
    try:
        rows, names = _rows(json.loads(data), orient, fields)
        frame = pl.DataFrame(rows[:_EXAMPLE_ROWS], schema=names, orient="row", infer_schema_length=None, strict=False)
        wanted = {field.name: field for field in fields}
        if wanted and set(wanted) != set(frame.columns):
            return None
        frame = frame.select(_cast(frame[name], field) for name, field in wanted.items()) if wanted else frame
    except (ValueError, TypeError, KeyError, RecursionError, pl.exceptions.PolarsError, Invalid):
        return None  # an example that cannot be read is no fault of the model
    return frame if frame.height and frame.width else None


def _sorted(fields: tuple[Field, ...], traits: Traits) -> Asked:
    """The fields in the model's order, when it knows the same names in another."""
    held = {field.name: field for field in fields}
    if len(held) < len(fields) or "" in held:
        return Asked(reason="Its signature names a column twice, or not at all.")
    own = [field.name for field in traits.inputs]
    return Asked(tuple(held[name] for name in own)) if set(own) == set(held) else Asked(fields)


def _kind(column: _Column) -> str | None:
    if column.array is None:
        return _COLUMN_TYPES.get(column.type)
    flat = len(column.array.shape) == 1 or (len(column.array.shape) == _MATRIX and column.array.shape[1] == 1)
    return _ARRAY_TYPES.get(column.array.dtype) if flat else None


def _told(column: _Column) -> str:
    what = column.type if column.array is None else f"an array of {column.array.dtype} and shape {column.array.shape}"
    return f"{what} in {column.name!r}" if column.name is not None else what


def _array(array: _Array, traits: Traits) -> Asked:
    kind = _ARRAY_TYPES.get(array.dtype)
    if kind is None or len(array.shape) not in {1, _MATRIX} or array.shape[-1] > _MOST_COLUMNS:
        return Asked(reason=f"It takes arrays of {array.dtype} and shape {array.shape}, not rows of columns.")
    width = array.shape[1] if len(array.shape) == _MATRIX else 1
    own = traits.inputs if width in {-1, len(traits.inputs)} else columns_f(max(width, 0))
    if not own:
        return Asked(reason="Neither its signature nor its file says how many columns it takes.")
    return Asked(tuple(Field(name=field.name, dtype=kind) for field in own))


def _rows(found: Any, orient: str, fields: tuple[Field, ...]) -> tuple[list[Any], list[str]]:
    """Rows and column names of an example: a table by split or records, or an array. Raises ValueError for anything else."""
    if isinstance(found, dict):
        for key in ("dataframe_split", "dataframe_records", "inputs", "instances"):
            if key in found and len(found) == 1:
                return _rows(found[key], "records" if key == "dataframe_records" else orient, fields)
        if "data" in found and isinstance(found["data"], list):
            rows = found["data"]
            names = found.get("columns") or _names(rows, fields)
            return rows, [str(name) for name in names]
        columns = [found[field.name] for field in fields]  # named arrays, one a column
        return [list(row) for row in zip(*(_flat(column) for column in columns), strict=True)], [field.name for field in fields]
    if not isinstance(found, list) or not found:
        raise ValueError("no rows")
    if isinstance(found[0], dict):
        names = list(dict.fromkeys(str(name) for row in found for name in row))
        return [[row.get(name) for name in names] for row in found], names
    rows = [row if isinstance(row, list) else [row] for row in found]
    return rows, _names(rows, fields)


def _names(rows: list[Any], fields: tuple[Field, ...]) -> list[str]:
    width = len(rows[0])
    return [field.name for field in (fields if len(fields) == width else columns_f(width))]


def _flat(column: Any) -> list[Any]:
    return [item[0] if isinstance(item, list) else item for item in column]


def _cast(column: pl.Series, field: Field) -> pl.Series:
    if field.dtype.startswith("Datetime") and column.dtype == pl.String:
        return column.str.to_datetime(time_unit="us", strict=False).dt.replace_time_zone(None)
    return column.cast(dtype_of(field.dtype))
