"""Claims about rows as a whole: uniqueness and doubles."""

from __future__ import annotations

import polars as pl

from rung.data.expectations.family import EXPECTATIONS, Check, Claim, absent, decided, rows_where


@EXPECTATIONS.member("unique")
def unique(claim: Claim) -> Check:
    """No two rows agree in all of ``columns`` (or in the one ``column``)."""
    columns = tuple(claim.arguments["columns"]) if "columns" in claim.arguments else (claim.column(),)
    missing = absent(claim, *columns)
    return missing or rows_where(pl.struct(*columns).is_duplicated(), columns, "share their key with another")


@EXPECTATIONS.member("no_duplicates")
def no_duplicates(claim: Claim) -> Check:
    """No row is there twice."""
    if not claim.schema:
        return decided(passed=True, seen="there are no columns")
    return rows_where(pl.struct(*claim.schema).is_duplicated(), tuple(claim.schema)[:5], "are there more than once")
