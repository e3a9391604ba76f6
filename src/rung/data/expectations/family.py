"""What an expectation is: arguments and a schema become a check, an aggregate over the table and how to judge it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from rung.core.errors import Invalid
from rung.core.families import Family


@dataclass(frozen=True)
class Check:
    """One compiled claim.

    Args:
        aggregate: an expression of one value over the whole table, or None when the schema alone decides.
        judge: from that value (None without one) to (passed, what was seen, failing rows or None).
        failing_rows: for claims about rows, the mask of rows that break it; nulls count as not breaking it.
        columns: columns to show of such rows.
    """

    aggregate: pl.Expr | None
    judge: Callable[[Any], tuple[bool, str, int | None]]
    failing_rows: pl.Expr | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """What a member is given: arguments, the table's schema, and the instant it is asked at."""

    arguments: dict[str, Any]
    schema: dict[str, pl.DataType]
    as_of: datetime

    def column(self, name: str = "column") -> str:
        """The column an argument names. Raises Invalid when it is not given as text."""
        value = self.argument(name)
        if not isinstance(value, str):
            raise Invalid(f"Argument {name!r} is {value!r}, not a column name.", code="data.bad_argument", hint="Give text.")
        return value

    def argument(self, name: str) -> Any:
        """An argument that must be there. Raises Invalid."""
        if name not in self.arguments:
            raise Invalid(f"Argument {name!r} is missing.", code="data.missing_argument", hint="Give it, for example column=age.")
        return self.arguments[name]


EXPECTATIONS: Family[Callable[[Claim], Check]] = Family("expectations", "rung.data.expectations")


def rows_where(mask: pl.Expr, columns: tuple[str, ...], said: str) -> Check:
    """The check that no row meets the mask."""

    def judge(value: Any) -> tuple[bool, str, int]:
        failing = int(value or 0)
        return failing == 0, "every row holds" if failing == 0 else f"{failing} rows {said}", failing

    filled = mask.fill_null(value=False)
    return Check(aggregate=filled.sum(), judge=judge, failing_rows=filled, columns=columns)


def decided(*, passed: bool, seen: str) -> Check:
    """A check that the schema alone decides."""
    return Check(aggregate=None, judge=lambda _: (passed, seen, None))


def absent(claim: Claim, *columns: str) -> Check | None:
    """The failed check for columns the table does not have; None when all are there."""
    missing = [column for column in columns if column not in claim.schema]
    return decided(passed=False, seen=f"there is no column {', '.join(missing)}") if missing else None
