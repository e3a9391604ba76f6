"""What MLflow's own check of a schema takes, ours takes with the same values; where ours differs, it is listed here."""

from __future__ import annotations

import json
from datetime import date, datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models.utils import _enforce_schema
from mlflow.types.schema import ColSpec, Schema, TensorSpec

from rung.core.errors import Invalid
from rung.registry.format import Traits, columns_f
from rung.registry.matching import matched
from rung.registry.mlschema import Asked, asked_by
from rung.registry.records import Signature

pytestmark = pytest.mark.filterwarnings("ignore")
GIVEN = {
    "int8": pd.Series([1, 2], dtype="int8"),
    "int32": pd.Series([1, 2], dtype="int32"),
    "int64": pd.Series([1, 2]),
    "uint8": pd.Series([1, 2], dtype="uint8"),
    "float32": pd.Series([1.5, 2], dtype="float32"),
    "float64": pd.Series([1.5, 2]),
    "whole floats": pd.Series([1.0, 2.0]),
    "floats and NaN": pd.Series([1.0, np.nan]),
    "booleans": pd.Series([True, False]),
    "texts": pd.Series(["a", "b"]),
    "numbers as texts": pd.Series(["1", "2"]),
    "texts and None": pd.Series(["a", None]),
    "categories": pd.Series(["a", "b"], dtype="category"),
    "times": pd.Series(pd.to_datetime(["2013-01-01", "2013-01-02 03:04:05"], format="mixed")),
    "times as texts": pd.Series(["2013-01-01T00:00:00", "2013-01-02T03:04:05"]),
    "times with a zone": pd.Series(pd.to_datetime(["2013-01-01", "2013-01-02"], utc=True)),
    "dates": pd.Series([date(2013, 1, 1), date(2013, 1, 2)]),
    "integers and null": pd.Series([1, None], dtype="Int64"),
}
# MLflow takes a null in any column; here a column takes one where the model does, which is tried when it is registered
ONLY_MLFLOW = {
    ("double", "floats and NaN"), ("string", "texts and None"),
    ("boolean", "dates"), ("string", "dates"),  # of the objects that pandas keeps dates as, it asks no type
}  # fmt: skip


@pytest.mark.parametrize("kind", ["boolean", "integer", "long", "float", "double", "string", "datetime"])
@pytest.mark.parametrize("name", GIVEN)
def test_what_mlflow_takes_is_taken_with_the_same_values(kind: str, name: str) -> None:
    rows, schema = pd.DataFrame({"a": GIVEN[name]}), Schema([ColSpec(kind, "a")])
    try:
        expected = _enforce_schema(rows, schema)["a"].tolist()
    except (MlflowException, TypeError, ValueError):  # the latter two where it did not foresee a value
        return
    asked = Signature(inputs=asked_by(json.dumps(schema.to_dict()), Traits()).fields)
    if (kind, name) in ONLY_MLFLOW:
        with pytest.raises(Invalid, match=r"a (is|has)"):
            matched(pl.from_pandas(rows), asked)
        return
    assert matched(pl.from_pandas(rows), asked)["a"].to_list() == [
        item.to_pydatetime() if isinstance(item, pd.Timestamp) else item for item in expected
    ]


def asked(schema: Schema, traits: Traits | None = None) -> Asked:
    return asked_by(json.dumps(schema.to_dict()), traits or Traits())


def test_a_column_that_is_not_required_may_be_left_out_as_with_mlflow() -> None:
    schema = Schema([ColSpec("long", "a"), ColSpec("datetime", "b", required=False)])
    rows = pd.DataFrame({"a": [1, 2]})
    assert _enforce_schema(rows, schema)["a"].tolist() == [1, 2]
    signature = Signature(inputs=asked(schema).fields)
    assert matched(pl.from_pandas(rows), signature).rows() == [(1, None), (2, None)]
    assert matched(pl.DataFrame({"a": [1], "b": ["2013-01-01"]}), signature).rows() == [(1, datetime(2013, 1, 1))]


def test_arrays_that_are_tables_become_columns() -> None:
    matrix = asked(Schema([TensorSpec(np.dtype("float32"), (-1, 3))]))
    assert [(field.name, field.dtype) for field in matrix.fields] == [("f0", "Float32"), ("f1", "Float32"), ("f2", "Float32")]
    any_width = asked(Schema([TensorSpec(np.dtype("float64"), (-1, -1))]), Traits(inputs=columns_f(2)))
    assert [field.name for field in any_width.fields] == ["f0", "f1"]
    named = asked(Schema([TensorSpec(np.dtype("int64"), (-1,), "hour"), TensorSpec(np.dtype("bool"), (-1, 1), "holiday")]))
    assert [(field.name, field.dtype) for field in named.fields] == [("hour", "Int64"), ("holiday", "Boolean")]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (Schema([TensorSpec(np.dtype("float32"), (-1, 28, 28))]), "not rows of columns"),
        (Schema([TensorSpec(np.dtype("float32"), (-1, 28, 28), "picture")]), "an array of float32 and shape"),
        (Schema([TensorSpec(np.dtype("float32"), (-1, -1))]), "how many columns"),
        (Schema([ColSpec("binary", "photo")]), "binary in 'photo'"),
        (Schema([TensorSpec(np.dtype("complex128"), (-1, 2))]), "complex128"),
    ],
)
def test_what_no_table_holds_is_told(schema: Schema, reason: str) -> None:
    found = asked(schema)
    assert reason in found.reason
    assert not found.fields
