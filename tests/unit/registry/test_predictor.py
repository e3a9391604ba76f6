"""Input against signature."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from rung.core.errors import Invalid
from rung.registry.matching import matched, signature_of
from rung.registry.records import Field, Signature

SIGNATURE = Signature(
    inputs=(
        Field(name="carrier", dtype="String", nullable=True),
        Field(name="hour", dtype="Int64"),
        Field(name="wind", dtype="Float64", nullable=True),
    )
)


def test_columns_are_put_in_order_and_cast_when_nothing_is_lost() -> None:
    given = pl.DataFrame({"wind": [1, 2], "hour": [3.0, 4.0], "carrier": [None, None]})
    found = matched(given, SIGNATURE)
    assert found.columns == ["carrier", "hour", "wind"]
    assert found.dtypes == [pl.String, pl.Int64, pl.Float64]


def test_every_fault_is_named_at_once() -> None:
    given = pl.DataFrame({"carrier": [1], "hour": [None], "gate": ["A"]}, schema_overrides={"hour": pl.Int64})
    with pytest.raises(Invalid) as caught:
        matched(given, SIGNATURE)
    for part in ("missing wind", "unknown gate", "carrier is Int64, not String", "hour has 1 null"):
        assert part in caught.value.message


@pytest.mark.parametrize("value", ["3", 3.5, True, 2**60 + 0.0])
def test_an_hour_that_is_no_whole_number_is_refused(value: object) -> None:
    given = pl.DataFrame({"carrier": ["UA"], "hour": [value], "wind": [0.0]})
    if value == 2**60 + 0.0:  # exact as a double, so nothing is lost
        assert matched(given, SIGNATURE)["hour"][0] == 2**60
        return
    with pytest.raises(Invalid, match="hour"):
        matched(given, SIGNATURE)


def test_nan_counts_as_null_where_none_is_taken() -> None:
    strict = Signature(inputs=(Field(name="wind", dtype="Float64"),))
    with pytest.raises(Invalid, match="wind has 1 null"):
        matched(pl.DataFrame({"wind": [float("nan"), 1.0]}), strict)


def test_surplus_columns_can_be_dropped_instead() -> None:
    given = pl.DataFrame({"carrier": ["UA"], "hour": [1], "wind": [0.0], "id": ["x"]})
    assert matched(given, SIGNATURE, extra="drop").width == 3


def test_a_signature_is_read_off_an_example() -> None:
    found = signature_of(pl.DataFrame({"a": [1.0, None], "b": ["x", "y"]}), ())
    assert [(field.name, field.dtype, field.nullable) for field in found.inputs] == [("a", "Float64", True), ("b", "String", False)]
    with pytest.raises(Invalid, match="List"):
        signature_of(pl.DataFrame({"a": [[1]]}), ())


def fits(value: object, dtype: str, **options: bool) -> list[object]:
    asked = Signature(inputs=(Field(name="a", dtype=dtype, **options),))
    given = value if isinstance(value, pl.Series) else pl.Series("a", [value])
    return matched(pl.DataFrame({"a": given}), asked)["a"].to_list()


TIME, ZONED, DAY = "Datetime(time_unit='us', time_zone=None)", "Datetime(time_unit='us', time_zone='America/New_York')", "Date"


def test_texts_in_iso_8601_are_times() -> None:
    assert fits("2013-01-31T05:15:00", TIME) == [datetime(2013, 1, 31, 5, 15)]
    assert fits("2013-01-31", TIME) == [datetime(2013, 1, 31)]
    assert fits("2013-01-31T05:15:00.25Z", TIME) == [datetime(2013, 1, 31, 5, 15, 0, 250_000)]
    assert fits("2013-01-31T05:15:00-05:00", TIME) == [datetime(2013, 1, 31, 10, 15)]
    assert fits("2013-01-31T05:15:00", ZONED) == [datetime(2013, 1, 31, 10, 15, tzinfo=UTC)]
    assert fits("2013-01-31T10:15:00Z", ZONED) == [datetime(2013, 1, 31, 10, 15, tzinfo=UTC)]
    assert fits(date(2013, 1, 31), TIME) == [datetime(2013, 1, 31)]
    assert fits("2013-01-31", DAY) == [date(2013, 1, 31)]


@pytest.mark.parametrize(
    ("value", "dtype", "told"),
    [
        ("soon", TIME, "a holds 'soon', which is no time in ISO 8601"),
        ("2013-02-30", DAY, "a holds '2013-02-30', which is no date in ISO 8601"),
        ("2013-01-31T05:15:00", DAY, "which is no date"),
        (1356998400000, TIME, "a is Int64, not Datetime"),
        (datetime(2013, 1, 1), ZONED, "a is Datetime"),
        (1.5, "Int64", "a holds '1.5', which is no Int64"),
        (300, "Int8", "a holds '300', which is no Int8"),
        (-1, "UInt8", "a holds '-1', which is no UInt8"),
        (1e300, "Float32", "a holds '1e\\+300', which is no Float32"),
        (1, "Boolean", "a is Int64, not Boolean"),
        (True, "Float64", "a is Boolean, not Float64"),
        ("1", "Float64", "a is String, not Float64"),
        (1.0, "String", "a is Float64, not String"),
        (None, "Float64", "a has 1 null"),
    ],
)
def test_what_does_not_fit_is_named_with_its_column(value: object, dtype: str, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        fits(value, dtype)


def test_an_optional_column_may_be_left_out_and_is_null_then() -> None:
    asked = Signature(inputs=(Field(name="a", dtype="Int64"), Field(name="b", dtype=TIME, nullable=True, optional=True)))
    found = matched(pl.DataFrame({"a": [1, 2]}), asked)
    assert found["b"].to_list() == [None, None]
    assert found["b"].dtype == pl.Datetime("us")


def test_a_type_no_model_takes_is_named_with_its_column() -> None:
    with pytest.raises(Invalid, match="route: A model cannot take"):
        signature_of(pl.DataFrame({"route": [["JFK", "LGA"]]}), ())


@pytest.mark.parametrize(
    ("given", "dtype", "expected"),
    [
        ([1.5, None], "Int64", None),
        ([2.0, None], "Int64", [2, None]),
        ([float("nan"), 1.0], "Int64", None),
        ([300, None], "UInt8", None),
        ([2**53 + 1], "Float64", [2.0**53]),
        ([1e300, None], "Float32", None),
        ([float("inf"), 0.5, None], "Float32", [float("inf"), 0.5, None]),
    ],
)
def test_numbers_beside_nulls_are_kept_or_refused(given: list[float | None], dtype: str, expected: list[float | None] | None) -> None:
    if expected is not None:
        assert fits(pl.Series("a", given), dtype, nullable=True) == expected
        return
    with pytest.raises(Invalid, match=f"which is no {dtype}"):
        fits(pl.Series("a", given), dtype, nullable=True)


@pytest.mark.parametrize("dtype", ["Float64", "Float32"])
def test_nulls_of_floats_are_counted_with_what_is_no_number(dtype: str) -> None:
    with pytest.raises(Invalid, match="a has 2 nulls"):
        fits(pl.Series("a", [1.0, None, float("nan")]), dtype)
