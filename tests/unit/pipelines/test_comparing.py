"""How alike two values of a kind are: columns, arrays, models, rows in another order."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression

from rung.pipelines.materialisers.array import compare_arrays
from rung.pipelines.materialisers.estimator import Estimator
from rung.pipelines.materialisers.frame import compare_frames
from rung.pipelines.materialisers.tree import Tree


def test_every_differing_column_is_told_with_its_greatest_differences() -> None:
    first = pl.DataFrame({"a": [1.0, 2.0, 4.0], "b": [1.0, 1.0, 1.0], "c": ["x", "y", "z"], "d": [1, 2, 3]})
    second = pl.DataFrame({"a": [1.0, 2.5, 4.0], "b": [1.0, 1.0, 1.0], "c": ["x", "?", "?"], "d": [1, 2, 3]})
    found = compare_frames(first, second, 1e-9)
    assert found.likeness == "different"
    # |2 - 2.5| = 0.5, which is 0.2 of 2.5
    assert [(p.name, p.likeness, p.absolute, p.relative) for p in found.parts] == [
        ("a", "different", 0.5, pytest.approx(0.2)), ("c", "different", None, None)
    ]  # fmt: skip
    assert found.parts[1].detail == "2 of 3 values differ"


def test_columns_within_the_tolerance_are_equivalent() -> None:
    first, second = pl.DataFrame({"a": [1.0, None]}), pl.DataFrame({"a": [1.0 + 1e-12, None]})
    assert compare_frames(first, second, 1e-9).likeness == "equivalent"
    assert compare_frames(first, second, 1e-15).likeness == "different"


def test_the_same_rows_in_another_order_are_equivalent() -> None:
    first = pl.DataFrame({"a": [1, 2, 2], "b": ["x", "y", "y"]})
    assert compare_frames(first, first[[2, 0, 1]], 0.0).detail == "the same rows in another order"
    assert compare_frames(first, pl.DataFrame({"a": [1, 1, 2], "b": ["x", "x", "y"]}), 0.0).likeness == "different"


def test_a_missing_value_is_not_a_number() -> None:
    assert compare_frames(pl.DataFrame({"a": [0.0]}), pl.DataFrame({"a": [None]}, schema={"a": pl.Float64}), 1.0).likeness == "different"


def test_nan_meets_nan() -> None:
    both = np.array([np.nan, 1.0])
    assert compare_arrays(both, both.copy(), 0.0, "a").likeness == "identical"
    assert compare_arrays(both, np.array([1.0, 1.0]), 0.5, "a").likeness == "different"


def test_learned_arrays_of_a_model_are_told_apart() -> None:
    rows = np.arange(12.0).reshape(6, 2) ** 1.5
    first, second = (LinearRegression().fit(rows, rows[:, 0] + factor * rows[:, 1]) for factor in (1.0, 1.5))
    found = Estimator.compare(first, second, 1e-9)
    assert found.likeness == "different"
    assert any(part.name == "LinearRegression.coef_" and part.absolute == pytest.approx(0.5) for part in found.parts)


def test_parts_inside_a_container_keep_their_way() -> None:
    first, second = {"train": pl.DataFrame({"a": [1.0]})}, {"train": pl.DataFrame({"a": [2.0]})}
    assert Tree.compare(first, second, 1e-9).parts[0].name == "train: a"
