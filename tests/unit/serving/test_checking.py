"""What a matrix must keep to: its width, finite numbers, nulls only where they may be, whole numbers where they must be."""

from __future__ import annotations

import numpy as np
import pytest

from rung.core.errors import Invalid
from rung.registry.records import Field, Signature
from rung.serving.checking import matrix_check

CHECK = matrix_check(
    Signature(
        inputs=(
            Field(name="age", dtype="Float64"),
            Field(name="income", dtype="Float64", nullable=True),
            Field(name="visits", dtype="Int64"),
            Field(name="member", dtype="Boolean", nullable=True),
            Field(name="small", dtype="UInt8"),
        )
    )
)
GOOD = [41.5, float("nan"), 3.0, 1.0, 255.0]


def test_rows_that_fit_pass_one_or_many() -> None:
    CHECK(np.array([GOOD]))
    CHECK(np.array([GOOD, [0.0, 1.0, -5.0, float("nan"), 0.0]] * 100))


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, float("nan"), "'age' holds null"),
        (0, float("inf"), "'age' holds an infinite value"),
        (1, float("-inf"), "'income' holds an infinite value"),
        (2, 1.5, "'visits' holds 1.5; expected Int64"),
        (2, float("nan"), "'visits' holds null"),
        (2, 2.0**60, "'visits' holds"),
        (3, 2.0, "'member' holds 2.0; expected Boolean"),
        (4, 256.0, "'small' holds 256.0; expected UInt8"),
        (4, -1.0, "'small' holds -1.0"),
    ],
)
@pytest.mark.parametrize("height", [1, 50])
def test_a_value_that_does_not_fit_is_named_with_its_column(place: int, value: float, said: str, height: int) -> None:
    rows = np.array([GOOD] * height)
    rows[height // 2, place] = value
    with pytest.raises(Invalid, match=said):
        CHECK(rows)


def test_another_number_of_columns_names_those_expected() -> None:
    with pytest.raises(Invalid, match=r"have 4 columns, the model takes 5.*age, income, visits, member, small"):
        CHECK(np.zeros((2, 4)))


def test_huge_numbers_whose_sum_would_overflow_are_finite() -> None:
    matrix_check(Signature(inputs=(Field(name="a", dtype="Float64"), Field(name="b", dtype="Float64"))))(np.array([[1.7e308, 1.7e308]]))
