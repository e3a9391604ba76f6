"""Claims about single values: ranges, sets, patterns, finiteness."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl

from rung.core.errors import Invalid
from rung.data.expectations.family import EXPECTATIONS, Check, Claim, absent, rows_where


@EXPECTATIONS.member("between")
def between(claim: Claim) -> Check:
    """Every value of ``column`` that is there lies between ``low`` and ``high``, ends included; either may be left out."""
    column = claim.column()
    missing = absent(claim, column)
    if missing:
        return missing
    low, high = claim.arguments.get("low"), claim.arguments.get("high")
    if low is None and high is None:
        raise Invalid("between has neither low nor high.", code="data.missing_argument", hint="Give at least one of them.")
    dtype = claim.schema[column]
    mask = pl.lit(value=False)
    if low is not None:
        mask = mask | (pl.col(column) < _limit(low, dtype))
    if high is not None:
        mask = mask | (pl.col(column) > _limit(high, dtype))
    return rows_where(mask, (column,), f"lie outside [{low}, {high}]")


@EXPECTATIONS.member("in_set")
def in_set(claim: Claim) -> Check:
    """Every value of ``column`` that is there is one of ``values``."""
    column, values = claim.column(), list(claim.argument("values"))
    missing = absent(claim, column)
    if missing:
        return missing
    known = pl.Series(values).cast(claim.schema[column], strict=False)
    return rows_where(~pl.col(column).is_in(known.implode()), (column,), f"are none of {len(values)} values")


@EXPECTATIONS.member("matches")
def matches(claim: Claim) -> Check:
    """Every text of ``column`` that is there matches the regular expression ``pattern`` from start to end."""
    column, pattern = claim.column(), str(claim.argument("pattern"))
    missing = absent(claim, column)
    if missing:
        return missing
    return rows_where(~pl.col(column).cast(pl.String).str.contains(f"^(?:{pattern})$"), (column,), f"do not match {pattern}")


@EXPECTATIONS.member("finite")
def finite(claim: Claim) -> Check:
    """No number of ``column`` is infinite or NaN."""
    column = claim.column()
    missing = absent(claim, column)
    if missing:
        return missing
    mask = ~pl.col(column).is_finite() if claim.schema[column].is_float() else pl.col(column).is_null() & pl.lit(value=False)
    return rows_where(mask, (column,), "are not finite")


def _limit(value: Any, dtype: pl.DataType) -> Any:
    if not dtype.is_temporal() or not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise Invalid(f"{value!r} is not an instant.", code="data.bad_argument", hint="Write 2013-07-01 or 2013-07-01T08:00:00Z.") from None
    if dtype == pl.Date:
        return date(moment.year, moment.month, moment.day)
    return pl.lit(moment).cast(dtype)
