"""What every codec makes of a payload, and the steps several of them share."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.clock import to_micros
from rung.core.errors import Invalid
from rung.registry.records import Signature


@dataclass(frozen=True)
class Asked:
    """Rows to score, with the ids and event times the caller gave, if any."""

    rows: pl.DataFrame
    ids: list[str] | None = None
    times_us: NDArray[np.int64] | None = None
    request_id: str | None = None
    outputs: tuple[str, ...] = field(default=())


def fitted(frame: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    """The frame with columns in the signature's order and numbers widened to its types.

    Raises Invalid for missing, extra and untranslatable columns, naming them.
    """
    wanted = {f.name: f.dtype for f in signature.inputs}
    missing = [name for name in wanted if name not in frame.columns]
    extra = [name for name in frame.columns if name not in wanted]
    if missing or extra:
        said = [f"misses {', '.join(missing)}" if missing else "", f"has unknown {', '.join(extra)}" if extra else ""]
        raise Invalid(
            f"The input {' and '.join(s for s in said if s)}.", code="serving.columns", hint=f"The model takes {', '.join(wanted)}."
        )
    return pl.DataFrame([_cast(frame[name], dtype) for name, dtype in wanted.items()])


def event_times(value: Any, rows: int) -> NDArray[np.int64] | None:
    """Event times from one value for all rows or one for each: ISO 8601 text with a zone, or microseconds since 1970."""
    if value is None:
        return None
    values = value if isinstance(value, list) else [value] * rows
    if values and all(type(item) is int for item in values):
        return np.array(values, dtype=np.int64)
    return np.array([_micros(item) for item in values], dtype=np.int64)


def _micros(item: Any) -> int:
    if type(item) is int:
        return int(item)
    try:
        at = datetime.fromisoformat(item)
        if at.tzinfo is None:
            raise ValueError("it has no time zone")
    except (TypeError, ValueError) as error:
        raise Invalid(
            f"{item!r} is not an event time: {error}.",
            code="serving.bad_times",
            hint="Write 2013-07-01T08:00:00Z, or microseconds since 1970.",
        ) from None
    return to_micros(at)


def _cast(series: pl.Series, dtype: str) -> pl.Series:
    wanted = getattr(pl, dtype, None)
    if wanted is None or not isinstance(wanted, type) or not issubclass(wanted, pl.DataType):
        return series
    if series.dtype == wanted:
        return _finite(series)
    if series.dtype == pl.Null:
        return series.cast(wanted)
    text = {pl.String, pl.Categorical}
    if (wanted in text) != (series.dtype in text):
        raise Invalid(
            f"Column {series.name!r} is {series.dtype}, the model takes {dtype}.",
            code="serving.dtype",
            hint="Send the type of the signature.",
        )
    try:
        return _finite(series.cast(wanted))
    except pl.exceptions.PolarsError:
        raise Invalid(
            f"Column {series.name!r} does not fit {dtype}.", code="serving.dtype", hint="Send the type of the signature."
        ) from None


def _finite(series: pl.Series) -> pl.Series:
    # JSON has no NaN: a missing number is null, and an infinity is a mistake upstream that a model would turn into noise
    if series.dtype.is_float() and series.is_infinite().any():
        raise Invalid(f"Column {series.name!r} holds an infinite value.", code="serving.not_finite", hint="Send null for a missing number.")
    return series
