"""Input against signature."""

from __future__ import annotations

import polars as pl
import pytest

from rung.core.errors import Invalid
from rung.registry.predictor import matched, signature_of
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
