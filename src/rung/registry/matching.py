"""Frames against a signature: the columns in its order and types, or every fault at once; and as the matrix an engine takes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.registry.predictor import Extra
from rung.registry.program import Program
from rung.registry.records import Field, Signature

_MAX_LISTED, _LONG = 20, 100
_TEXT = ("String", "Categorical", "Enum")
# what libraries raise for rows they cannot use
UNSCORABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError, ArithmeticError, pl.exceptions.PolarsError)


def coded_frame(program: Program, frame: pl.DataFrame) -> NDArray[np.float64]:
    """The matrix of a program's sources, C-contiguous. Raises ValueError for a text that the model refuses."""
    made = np.empty((frame.height, len(program.sources)))
    for place, source in enumerate(program.sources):
        column = frame[program.inputs[source.column]]
        if source.texts is None:
            made[:, place] = column.cast(pl.Float64).to_numpy()
        else:
            made[:, place] = program.codes(source, column.to_list())
    return made


def matched(frame: pl.DataFrame, signature: Signature, *, extra: Extra = "refuse") -> pl.DataFrame:
    """The frame's columns in the signature's order and types; an optional column that is not there is null.

    Integers become floats, whole floats integers, and texts in ISO 8601 times or dates; nothing else changes its type.

    Raises:
        Invalid: naming every fault at once, with its column.
    """
    wanted = {field.name: field for field in signature.inputs}
    missing = [name for name, field in wanted.items() if name not in frame.columns and not field.optional]
    surplus = [name for name in frame.columns if name not in wanted] if extra == "refuse" else []
    faults = [f"missing {_listed(missing)}"] if missing else []
    faults += [f"unknown {_listed(surplus)}"] if surplus else []
    columns = []
    for field in signature.inputs:
        if field.name in frame.columns:
            column, fault = _column(frame[field.name], field)
            columns.append(column)
            faults += [fault] if fault else []
        elif field.optional:
            columns.append(pl.Series(field.name, [None] * frame.height, dtype=dtype_of(field.dtype)))
    if faults:
        raise Invalid(
            f"The input does not match the model's signature: {'; '.join(faults[:_MAX_LISTED])}.",
            code="registry.bad_input",
            hint=f"It takes {_listed([f'{f.name}: {f.dtype}' for f in signature.inputs])}.",
        )
    return pl.DataFrame(columns)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(name[:_LONG] for name in names[:_MAX_LISTED]) + more


def _column(column: pl.Series, field: Field) -> tuple[pl.Series, str]:
    found, value = _converted(column, field)
    if found is None:
        given = f"{field.name} is {column.dtype}" if value is None else f"{field.name} holds {str(value)[:100]!r}"
        return column, f"{given}, not {field.dtype}" if value is None else f"{given}, which is no {_kind(field)}"
    empty = int(np.isnan(found.to_numpy()).sum()) if found.dtype.is_float() else found.null_count()  # nulls of floats are NaN there
    if empty and not field.nullable:
        return found, f"{field.name} has {empty} null{'s' if empty > 1 else ''}, which the model does not take"
    return found, ""


def _kind(field: Field) -> str:
    if field.dtype.startswith("Datetime"):
        return "time in ISO 8601"
    return "date in ISO 8601" if field.dtype == "Date" else field.dtype


def _converted(column: pl.Series, field: Field) -> tuple[pl.Series | None, Any]:
    """The column in the field's type when nothing is lost by it; else None, and the first value that would be, if it is one value's fault."""
    given, wanted = str(column.dtype), field.dtype
    if given == wanted or (given.startswith(_TEXT[1:]) and wanted.startswith(_TEXT[1:])):
        return column, None
    target = dtype_of(wanted)
    if column.dtype == pl.Null:
        return column.cast(target), None
    if target.is_numeric() and column.dtype.is_numeric():
        return _same_numbers(column, target)
    if given.startswith(_TEXT) and wanted.startswith(_TEXT):
        return column.cast(target, strict=False), None
    if target.is_temporal():
        return _times(column, target)
    return None, None


def _same_numbers(column: pl.Series, target: pl.DataType) -> tuple[pl.Series | None, Any]:
    """The numbers in another type: rounded where that is of floats, but never cut, nor made infinite."""
    cast = column.cast(target, strict=False)
    if _same(column, cast):
        return cast, None
    before, after = column.cast(pl.Float64), cast.cast(pl.Float64)
    kept = (after.is_finite() == before.is_finite()) if target.is_float() else (after == before) | before.is_nan()
    lost = (cast.is_null() & column.is_not_null()) | ~kept.fill_null(value=True)
    return (None, column.filter(lost)[0]) if lost.any() else (cast, None)


def _same(column: pl.Series, cast: pl.Series) -> bool:
    """Whether numbers stayed what they were, by NumPy: a step of Polars takes longer than many a model. False may yet be true."""
    if cast.null_count() != column.null_count():
        return False
    before, after = column.to_numpy(), cast.to_numpy()
    if cast.dtype.is_float():
        return not column.dtype.is_float() or np.array_equal(np.isfinite(after), np.isfinite(before))
    return np.array_equal(before, after, equal_nan=True)


def _times(column: pl.Series, target: pl.DataType) -> tuple[pl.Series | None, Any]:
    """Times or dates from texts in ISO 8601, from dates, or in another unit. A zone is taken from a text or kept, never guessed away."""
    zone = getattr(target, "time_zone", None)
    if column.dtype == pl.String and isinstance(target, (pl.Datetime, pl.Date)):
        cast = pl.Series(column.name, [_instant(text, zone) for text in column.to_list()], dtype=pl.Datetime("us", zone and "UTC"))
        cast = cast.dt.convert_time_zone(zone) if zone else cast
        lost = cast.is_null() & column.is_not_null()
        if isinstance(target, pl.Date):
            lost |= (cast.dt.truncate("1d") != cast).fill_null(value=False)
        return (None, column.filter(lost)[0]) if lost.any() else (cast.cast(target), None)
    if isinstance(target, pl.Datetime) and column.dtype == pl.Date:
        plain = column.cast(pl.Datetime(target.time_unit))
        return plain.dt.replace_time_zone(zone) if zone else plain, None
    if isinstance(target, pl.Datetime) and isinstance(column.dtype, pl.Datetime):
        return (column.cast(target) if (column.dtype.time_zone is None) == (zone is None) else None), None
    return None, None


def _instant(text: str | None, zone: str | None) -> datetime | None:
    """What a text in ISO 8601 says, in UTC where a zone is asked for, else without; None for any other text."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.strip())
        if found.tzinfo is not None:
            return found.astimezone(UTC) if zone else found.astimezone(UTC).replace(tzinfo=None)
        return found.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) if zone else found
    except (ValueError, OverflowError, ZoneInfoNotFoundError):
        return None


def dtype_of(name: str) -> pl.DataType:
    """The Polars type a signature names."""
    simple = {
        "Boolean": pl.Boolean(), "String": pl.String(), "Categorical": pl.Categorical(), "Date": pl.Date(), "Time": pl.Time(),
        "Float32": pl.Float32(), "Float64": pl.Float64(), "Int8": pl.Int8(), "Int16": pl.Int16(), "Int32": pl.Int32(),
        "Int64": pl.Int64(), "UInt8": pl.UInt8(), "UInt16": pl.UInt16(), "UInt32": pl.UInt32(), "UInt64": pl.UInt64(),
    }  # fmt: skip
    if name in simple:
        return simple[name]
    if name.startswith("Datetime"):
        zone = None if "time_zone=None" in name or "time_zone" not in name else name.split("time_zone='")[1].split("'", maxsplit=1)[0]
        return pl.Datetime("ms" if "'ms'" in name else "ns" if "'ns'" in name else "us", zone)
    if name.startswith(("Categorical", "Enum")):
        return pl.Categorical()
    raise Invalid(f"A model cannot take a column of type {name}.", code="registry.bad_dtype", hint=f"Use one of {', '.join(simple)}.")


def signature_of(frame: pl.DataFrame, outputs: tuple[Field, ...], nullable: frozenset[str] = frozenset()) -> Signature:
    """The signature of an example: its columns in order; nullable are those named, and those that hold a null."""
    inputs = []
    for column in frame.get_columns():
        try:
            dtype_of(str(column.dtype))
        except Invalid as error:
            raise Invalid(f"{column.name}: {error.message}", code=error.code, hint=error.hint) from None
        holds = column.null_count() > 0 or (column.dtype.is_float() and bool(column.is_nan().any()))
        inputs.append(Field(name=column.name, dtype=str(column.dtype), nullable=holds or column.name in nullable))
    return Signature(inputs=tuple(inputs), outputs=outputs)
