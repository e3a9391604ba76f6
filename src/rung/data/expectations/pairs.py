"""Claims about two columns of a row."""

from __future__ import annotations

import polars as pl

from rung.core.errors import Invalid
from rung.data.expectations.family import EXPECTATIONS, Check, Claim, absent, rows_where

_BREAKS = {
    ">=": lambda a, b: a < b,
    ">": lambda a, b: a <= b,
    "<=": lambda a, b: a > b,
    "<": lambda a, b: a >= b,
    "==": lambda a, b: a != b,
    "!=": lambda a, b: a == b,
}


@EXPECTATIONS.member("compare_columns")
def compare_columns(claim: Claim) -> Check:
    """In every row where both are there, ``left`` stands to ``right`` as ``operator`` says (>=, >, <=, <, ==, !=)."""
    left, right, operator = claim.column("left"), claim.column("right"), str(claim.arguments.get("operator", ">="))
    if operator not in _BREAKS:
        raise Invalid(f"{operator!r} is no comparison.", code="data.bad_argument", hint=f"Known: {', '.join(_BREAKS)}.")
    missing = absent(claim, left, right)
    tolerance = float(claim.arguments.get("tolerance", 0.0))
    if missing:
        return missing
    shifted = pl.col(left) + (tolerance if operator in {">=", ">"} else -tolerance) if tolerance else pl.col(left)
    return rows_where(_BREAKS[operator](shifted, pl.col(right)), (left, right), f"are not {left} {operator} {right}")
