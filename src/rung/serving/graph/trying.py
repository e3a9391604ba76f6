"""Asking a graph without the data plane: rows made of plain values, and scores by loaded versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from rung.core.errors import Invalid
from rung.registry.matching import dtype_of, matched
from rung.registry.predictor import Predictor
from rung.registry.records import Field, Signature
from rung.serving.graph.flow import is_number
from rung.serving.inference import Floats, Rows


def row_of(row: Mapping[str, Any], fields: tuple[Field, ...]) -> Rows:
    """One row of plain values as a graph takes it. Raises Invalid naming what does not fit."""
    try:
        frame = pl.DataFrame([dict(row)], strict=False)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise Invalid(f"The row cannot be read: {str(error).splitlines()[0]}.", code="graph.bad_row", hint="Send plain values.") from None
    return rows_of(matched(frame, Signature(inputs=fields)), fields)


def rows_of(frame: pl.DataFrame, fields: Sequence[Field]) -> Rows:
    """A frame with the columns of ``fields`` in their order, as a matrix where all of them are numbers."""
    if all(is_number(field.dtype) for field in fields):
        numbers = frame.select(pl.col(field.name).cast(pl.Float64) for field in fields).to_numpy()
        return Rows(matrix=np.ascontiguousarray(numbers, dtype=np.float64))
    return Rows(frame=frame)


def scores_by(predictors: Mapping[str, Predictor]) -> Callable[[str, Rows], Floats]:
    """What scores rows by name of a model."""

    def score(model: str, rows: Rows) -> Floats:
        asked = predictors[model]
        if rows.matrix is None:
            assert rows.frame is not None  # noqa: S101 - one of the two is set
            return np.asarray(asked.predict_scores(rows.frame), dtype=np.float64)
        if asked.score_matrix is not None:
            return asked.score_matrix(rows.matrix)
        fields = asked.signature.inputs[: rows.matrix.shape[1]]
        columns = [pl.Series(f.name, rows.matrix[:, place], nan_to_null=True) for place, f in enumerate(fields)]
        frame = pl.DataFrame([s != 0 if f.dtype == "Boolean" else s.cast(dtype_of(f.dtype)) for s, f in zip(columns, fields, strict=True)])
        return np.asarray(asked.predict_scores(frame), dtype=np.float64)

    return score
