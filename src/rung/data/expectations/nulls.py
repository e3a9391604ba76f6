"""Claims about missing values."""

from __future__ import annotations

from typing import Any

import polars as pl

from rung.data.expectations.family import EXPECTATIONS, Check, Claim, absent, rows_where


@EXPECTATIONS.member("not_null")
def not_null(claim: Claim) -> Check:
    """No value of ``column`` is null, nor NaN; with ``share``, at most that share of them is."""
    column = claim.column()
    missing = absent(claim, column)
    if missing:
        return missing
    mask = pl.col(column).is_null()
    if claim.schema[column].is_float():
        mask = mask | pl.col(column).is_nan()
    allowed = float(claim.arguments.get("share", 0.0))
    if allowed == 0:
        return rows_where(mask, (column,), "have no value")

    def judge(value: Any) -> tuple[bool, str, None]:
        return bool(value is None or value <= allowed), f"{value or 0:.2%} have no value", None

    return Check(aggregate=mask.mean(), judge=judge)
