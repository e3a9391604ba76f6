"""Predictor: a loaded version that checks its input against the signature and answers scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.format import Scorer
from rung.registry.records import Class, Field, Signature

Extra = Literal["refuse", "drop"]
_TEXT = ("String", "Categorical", "Enum")
# what libraries raise for rows they cannot use
UNSCORABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError, ArithmeticError, pl.exceptions.PolarsError)


@dataclass(frozen=True)
class Predictor:
    """A version ready to answer. It holds no state, so threads may share it."""

    model: str
    number: int
    digest: str
    signature: Signature
    task: Task
    classes: tuple[Class, ...]
    threshold: float | None
    scorer: Scorer

    def predict_scores(self, frame: pl.DataFrame, *, extra: Extra = "refuse") -> NDArray[np.float64]:
        """Scores of the rows: P(positive) of shape (n,), P(class) of shape (n, k), or values of shape (n,).

        Raises:
            Invalid: columns are missing, too many (unless they shall be dropped), of another type, or null where the
                model was never given a null, all of them named; or the model itself refuses a value, say a category it
                never met.
        """
        asked = matched(frame, self.signature, extra=extra)
        if not asked.height:
            return np.zeros((0, len(self.classes))) if self.task == "multiclass" else np.zeros(0)
        try:
            return self.scorer(asked)
        except UNSCORABLE as error:
            raise Invalid(
                f"{self.model}:{self.number} cannot score these rows: {' '.join(str(error).split())[:300]}",
                code="registry.unscorable",
                hint="Send values of the kind it was fitted on.",
            ) from None


def matched(frame: pl.DataFrame, signature: Signature, *, extra: Extra = "refuse") -> pl.DataFrame:
    """The frame's columns in the signature's order and types. Raises Invalid, naming every fault at once."""
    wanted = {field.name: field for field in signature.inputs}
    missing = [name for name in wanted if name not in frame.columns]
    surplus = [name for name in frame.columns if name not in wanted] if extra == "refuse" else []
    faults = [f"missing {', '.join(missing)}"] if missing else []
    faults += [f"unknown {', '.join(surplus)}"] if surplus else []
    columns = []
    for field in signature.inputs:
        if field.name not in missing:
            column, fault = _column(frame[field.name], field)
            columns.append(column)
            faults += [fault] if fault else []
    if faults:
        raise Invalid(
            f"The input does not match the model's signature: {'; '.join(faults)}.",
            code="registry.bad_input",
            hint=f"It takes {', '.join(f'{f.name}: {f.dtype}' for f in signature.inputs)}.",
        )
    return pl.DataFrame(columns)


def _column(column: pl.Series, field: Field) -> tuple[pl.Series, str]:
    found = _converted(column, field)
    if found is None:
        return column, f"{field.name} is {column.dtype}, not {field.dtype}"
    empty = found.null_count() + (int(found.is_nan().sum()) if found.dtype.is_float() else 0)
    if empty and not field.nullable:
        return found, f"{field.name} has {empty} null{'s' if empty > 1 else ''}, which the model does not take"
    return found, ""


def _converted(column: pl.Series, field: Field) -> pl.Series | None:
    """The column in the field's type when nothing is lost by it, else None."""
    given, wanted = str(column.dtype), field.dtype
    if given == wanted or (given.startswith(_TEXT[1:]) and wanted.startswith(_TEXT[1:])):
        return column
    if column.dtype == pl.Null:
        return column.cast(dtype_of(wanted))
    target = dtype_of(wanted)
    if target.is_numeric() and column.dtype.is_numeric():
        cast = column.cast(target, strict=False)
        kept = cast.cast(pl.Float64) == column.cast(pl.Float64)
        lost = cast.null_count() > column.null_count() or not (kept.fill_null(value=True) | column.cast(pl.Float64).is_nan()).all()
        return cast if not lost or target.is_float() else None
    if given.startswith(_TEXT) and wanted.startswith(_TEXT):
        return column.cast(target, strict=False)
    if given.startswith("Datetime") and wanted.startswith("Datetime"):
        return column.cast(target) if ("time_zone=None" in given) == ("time_zone=None" in wanted) else None
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
        dtype_of(str(column.dtype))
        holds = column.null_count() > 0 or (column.dtype.is_float() and bool(column.is_nan().any()))
        inputs.append(Field(name=column.name, dtype=str(column.dtype), nullable=holds or column.name in nullable))
    return Signature(inputs=tuple(inputs), outputs=outputs)
