"""Checking a table against its expectations: all aggregates in one select, examples only for what failed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from rung.core.errors import Invalid, NotFound
from rung.data.expectations import EXPECTATIONS, Check, Claim
from rung.data.records import ColumnProfile, Expectation, ExpectationResult, FailingRow, Profile, ValidationStatus

EXAMPLES = 5
_SMALL_SET, _MIN_ROWS = 20, 100


def check(table: pl.LazyFrame, expectations: Sequence[Expectation], as_of: datetime) -> tuple[ExpectationResult, ...]:
    """Results in the order of the expectations. One that does not fit the table's types fails; nothing raises."""
    schema = dict(table.collect_schema())
    checks = [_compiled(item, schema, as_of) for item in expectations]
    values = _aggregated(table, checks)
    return tuple(_result(table, *parts) for parts in zip(expectations, checks, values, strict=True))


def validated_arguments(expectation: Expectation) -> None:
    """Raise Invalid or NotFound for a kind or arguments that no table could meet."""
    make = EXPECTATIONS.get(expectation.kind)
    names = [value for value in expectation.arguments.values() if isinstance(value, str)]
    columns = expectation.arguments.get("columns")
    names += list(columns) if isinstance(columns, (list, tuple)) else []
    make(Claim(arguments=expectation.arguments, schema={name: pl.Float64() for name in names}, as_of=datetime.min))


def status_of(results: Sequence[ExpectationResult]) -> ValidationStatus:
    """Failed when a blocking expectation is broken, warned when only others are."""
    broken = [result for result in results if not result.passed]
    if any(result.expectation.blocking for result in broken):
        return "failed"
    return "warned" if broken else "passed"


def inferred(profile: Profile) -> tuple[Expectation, ...]:
    """Expectations that a profiled version meets: types, no new gaps, small sets of values, sane ranges as warnings."""
    if profile.rows is None:
        return ()
    found = [Expectation(kind="schema", arguments={"columns": {c.name: c.dtype for c in profile.columns}})]
    for column in profile.columns:
        found += _inferred(column, profile.rows)
    return tuple(found)


def _inferred(column: ColumnProfile, rows: int) -> list[Expectation]:
    found: list[Expectation] = []
    if rows and not column.nulls and not column.nans:
        found.append(Expectation(kind="not_null", arguments={"column": column.name}))
    if column.kind == "text" and rows >= _MIN_ROWS and column.distinct and column.distinct <= min(_SMALL_SET, len(column.top)):
        values = [item.value for item in column.top]
        found.append(Expectation(kind="in_set", arguments={"column": column.name, "values": values}, blocking=False))
    if column.kind == "number" and column.minimum is not None and column.maximum is not None and not column.constant:
        slack = column.maximum - column.minimum
        low = 0.0 if column.minimum >= 0 else column.minimum - slack
        found.append(
            Expectation(kind="between", arguments={"column": column.name, "low": low, "high": column.maximum + slack}, blocking=False)
        )
    return found


def _compiled(expectation: Expectation, schema: dict[str, pl.DataType], as_of: datetime) -> Check:
    try:
        return EXPECTATIONS.get(expectation.kind)(Claim(arguments=expectation.arguments, schema=schema, as_of=as_of))
    except (Invalid, NotFound, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        said = f"cannot be checked: {str(error).splitlines()[0]}"
        return Check(aggregate=None, judge=lambda _: (False, said, None))


def _aggregated(table: pl.LazyFrame, checks: Sequence[Check]) -> list[object]:
    wanted = {str(i): c.aggregate for i, c in enumerate(checks) if c.aggregate is not None}
    if not wanted:
        return [None] * len(checks)
    try:
        row = table.select(**wanted).collect().row(0, named=True)
    except pl.exceptions.PolarsError:
        row = {name: _alone(table, aggregate) for name, aggregate in wanted.items()}
    return [row.get(str(i)) for i in range(len(checks))]


def _alone(table: pl.LazyFrame, aggregate: pl.Expr) -> object:
    try:
        return table.select(x=aggregate).collect().item()
    except pl.exceptions.PolarsError as error:
        return error


def _result(table: pl.LazyFrame, expectation: Expectation, checked: Check, value: object) -> ExpectationResult:
    if isinstance(value, Exception):
        return ExpectationResult(expectation=expectation, passed=False, observed=f"cannot be checked: {str(value).splitlines()[0]}"[:1000])
    passed, seen, failing = checked.judge(value)
    examples = () if passed or checked.failing_rows is None else _examples(table, checked)
    return ExpectationResult(expectation=expectation, passed=passed, observed=seen[:1000], failing=failing, examples=examples)


def _examples(table: pl.LazyFrame, checked: Check) -> tuple[FailingRow, ...]:
    assert checked.failing_rows is not None  # noqa: S101 - the caller asked
    numbered = table.with_row_index("__row").filter(checked.failing_rows).select("__row", *checked.columns).head(EXAMPLES).collect()
    return tuple(
        FailingRow(row=row["__row"], values={n: None if row[n] is None else str(row[n]) for n in checked.columns})
        for row in numbered.iter_rows(named=True)
    )
