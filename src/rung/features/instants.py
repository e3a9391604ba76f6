"""Times as integers of UTC microseconds: finer units are floored, times without a zone and missing times are refused."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from rung.core.errors import Invalid

Micros = npt.NDArray[np.int64]
NEVER = np.iinfo(np.int64).max
_PER_MICRO = {"ns": 1000, "us": 1, "ms": 1}


def required(series: pl.Series, zone: str | None, where: str) -> Micros:
    """Microseconds of a column without gaps. Raises Invalid for nulls, naming some rows, and for what is no instant."""
    gaps = series.is_null().arg_true().head(3).to_list()
    if gaps:
        raise Invalid(
            f"{where} column {series.name!r} has no time in {series.null_count()} rows, the first in row {', '.join(map(str, gaps))}.",
            code="features.null_time",
            hint="Drop those rows, or give their time.",
        )
    return _micros(series, zone, where).to_numpy()


def optional(series: pl.Series, zone: str | None, where: str) -> Micros:
    """Microseconds of a column; a null is ``NEVER``. Raises Invalid for what is no instant."""
    return _micros(series, zone, where).fill_null(NEVER).to_numpy()


def _micros(series: pl.Series, zone: str | None, where: str) -> pl.Series:
    dtype = series.dtype
    if dtype == pl.Null:
        return series.cast(pl.Int64)
    if dtype == pl.Date:
        series = series.cast(pl.Datetime("us"))
    elif not isinstance(dtype, pl.Datetime):
        raise Invalid(
            f"{where} column {series.name!r} is {dtype}, not an instant.", code="features.not_a_time", hint="Turn it into UTC datetimes."
        )
    if getattr(dtype, "time_zone", None) is None:
        series = _placed(series, zone, where)
    unit = series.dtype.time_unit  # type: ignore[attr-defined]  # a Datetime by now
    whole = series.to_physical()
    return whole * 1000 if unit == "ms" else whole // _PER_MICRO[unit]


def _placed(series: pl.Series, zone: str | None, where: str) -> pl.Series:
    if zone is None:
        raise Invalid(
            f"{where} column {series.name!r} has times without a zone.",
            code="features.naive_time",
            hint="Give the zone they are meant in, for example zone='UTC'.",
        )
    try:
        return series.dt.replace_time_zone(zone)
    except pl.exceptions.PolarsError as error:
        raise Invalid(
            f"{where} column {series.name!r} cannot be placed in zone {zone!r}: {str(error).splitlines()[0]}.",
            code="features.bad_zone",
            hint="Give times in UTC: some local times exist twice or never.",
        ) from None
