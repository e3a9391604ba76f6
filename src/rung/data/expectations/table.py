"""Claims about the table: its columns, its size, its age."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from rung.data.expectations.family import EXPECTATIONS, Check, Claim, absent, decided


@EXPECTATIONS.member("schema")
def schema(claim: Claim) -> Check:
    """The table has the ``columns`` given as name: dtype; with ``exact``, no others."""
    wanted = dict(claim.argument("columns"))
    missing = [name for name in wanted if name not in claim.schema]
    wrong = [f"{n} is {claim.schema[n]}, not {d}" for n, d in wanted.items() if n in claim.schema and str(claim.schema[n]) != d]
    extra = [name for name in claim.schema if name not in wanted] if claim.arguments.get("exact") else []
    said = [*(f"{n} is missing" for n in missing), *wrong, *(f"{n} is new" for n in extra)]
    return decided(passed=not said, seen="; ".join(said) or f"{len(wanted)} columns as expected")


@EXPECTATIONS.member("row_count")
def row_count(claim: Claim) -> Check:
    """The table has at least ``low`` and at most ``high`` rows; either may be left out."""
    low, high = claim.arguments.get("low", 0), claim.arguments.get("high", float("inf"))

    def judge(value: Any) -> tuple[bool, str, None]:
        return bool(low <= value <= high), f"{value} rows", None

    return Check(aggregate=pl.len(), judge=judge)


@EXPECTATIONS.member("freshness")
def freshness(claim: Claim) -> Check:
    """The latest instant of ``column`` is at most ``hours`` before the validation."""
    column, hours = claim.column(), float(claim.argument("hours"))
    missing = absent(claim, column)
    if missing:
        return missing
    stamped = pl.col(column).cast(pl.Datetime("us")) if claim.schema[column] == pl.Date else pl.col(column)

    def judge(value: Any) -> tuple[bool, str, None]:
        if value is None:
            return False, "there is no instant", None
        latest = value if value.tzinfo else value.replace(tzinfo=claim.as_of.tzinfo)
        return claim.as_of - latest <= timedelta(hours=hours), f"the latest is {latest.isoformat()}", None

    return Check(aggregate=stamped.max(), judge=judge)
