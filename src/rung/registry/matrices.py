"""Rows of doubles straight to a model's own library, where that answers to the bit what it answers to a frame.

A frame of one row costs as much as many a model: columns are made, checked and taken apart again. So when a model is loaded,
its scorer is asked both ways for made-up rows and those of the input example; where one number differs, frames it stays.
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import RungError
from rung.registry.format import Scorer
from rung.registry.matching import UNSCORABLE, dtype_of
from rung.registry.openmp import OneThread
from rung.registry.predictor import unscorable
from rung.registry.records import Field

Floats = NDArray[np.float64]
Matrix = Callable[[Floats], Floats]
_HEIGHTS = (1, 2, 33, 129)
_EXAMPLES = 64
_TIMED = 5
_SEED = 7
_EMPTY = 0.1
_REFUSED = (*UNSCORABLE, RungError)


def frame_of(matrix: Floats, fields: tuple[Field, ...]) -> pl.DataFrame:
    """A matrix as the frame a model's library takes: columns in the signature's types, null where a number is missing."""
    frame = pl.DataFrame(np.asfortranarray(matrix), schema=[field.name for field in fields], orient="row")
    missing = bool(np.isnan(matrix).any())
    if not missing and all(field.dtype == "Float64" for field in fields):
        return frame
    wanted = []
    for field in fields:
        column = pl.col(field.name)
        column = column.fill_nan(None) if missing else column
        wanted.append(column if field.dtype == "Float64" else column.cast(dtype_of(field.dtype)))
    return frame.select(wanted)


def proved(scorer: Scorer, fields: tuple[Field, ...], example: bytes | None) -> Matrix | None:
    """What takes rows of doubles in place of frames; None where the scorer does not, or answers otherwise."""
    ask: Matrix | None = getattr(scorer, "matrix", None)
    if ask is None:
        return None
    parts, alone = _parts(fields, example), OneThread()
    expected = [_asked(scorer, frame_of(part, fields)) for part in parts]
    if all(found is None for found in expected):
        return None
    for way in filter(None, (getattr(scorer, "shorter", None), ask)):
        for form in _forms(fields):

            def given(matrix: Floats, way: Matrix = way, form: Callable[[Floats], Any] = form) -> Floats:
                return way(form(matrix))

            if all(_equal(scores, alone(lambda rows: _quietly(given, rows), part)) for scores, part in zip(expected, parts, strict=True)):
                return given
    return None


def refusing(ask: Matrix, model: str, number: int) -> Matrix:
    """The same, raising Invalid for what the library refuses."""

    def score(matrix: Floats) -> Floats:
        try:
            return ask(matrix)
        except UNSCORABLE as error:
            raise unscorable(model, number, error) from None

    return score


def measured_us(ask: Matrix, width: int, otherwise: float) -> float:
    """Microseconds of processor time for a row of zeros, the fastest of a few; ``otherwise`` where the model refuses that row."""
    row, best, alone = np.zeros((1, width)), float("inf"), OneThread()
    try:
        for _ in range(_TIMED):
            before = time.thread_time_ns()
            alone(ask, row)
            best = min(best, time.thread_time_ns() - before)
    except _REFUSED:
        return otherwise
    return best / 1000


def _forms(fields: tuple[Field, ...]) -> list[Callable[[Floats], Any]]:
    """Forms a library may be given a matrix in: by columns as frames are, as it is, in single precision where all inputs are.

    By columns comes first: sums of products differ in the last bit between the two, by processor, and in few rows of many.
    """
    single = np.array([field.dtype == "Float32" for field in fields])
    if not single.any():
        return [np.asfortranarray, _same]

    def rounded(matrix: Floats) -> Floats:
        return np.where(single, matrix.astype(np.float32), matrix)

    forms: list[Callable[[Floats], Any]] = [lambda matrix: np.asfortranarray(rounded(matrix)), rounded]
    if single.all():
        forms += [lambda matrix: np.asfortranarray(matrix, dtype=np.float32), lambda matrix: matrix.astype(np.float32)]
    return forms


def _same(matrix: Floats) -> Floats:
    return matrix


def _parts(fields: tuple[Field, ...], example: bytes | None) -> list[Floats]:
    """Rows to compare: of the input example and made up around them, some of them with nulls where a column may be null."""
    shown = _shown(fields, example)
    chance, width = np.random.default_rng(_SEED), len(fields)
    middle = np.zeros(width) if shown is None else np.nan_to_num(shown).mean(axis=0)
    spread = np.ones(width) if shown is None else np.nan_to_num(shown).std(axis=0) + 1e-3
    made = [middle + spread * chance.normal(size=(height, width)) for height in _HEIGHTS]
    empty = np.array([field.nullable for field in fields])
    if empty.any():
        last = made[-1].copy()
        last[(chance.random(last.shape) < _EMPTY) & empty] = np.nan
        made.append(last)
    made = [np.zeros((1, width)), *(_of_types(part, fields) for part in made)]
    return made if shown is None else [shown[:1], shown, *made]


def _of_types(rows: Floats, fields: tuple[Field, ...]) -> Floats:
    for place, field in enumerate(fields):
        if field.dtype == "Boolean":
            rows[:, place] = np.where(np.isnan(rows[:, place]), np.nan, rows[:, place] > 0)
        elif field.dtype.startswith("UInt"):
            rows[:, place] = np.clip(np.rint(np.abs(rows[:, place])), 0, 100)
        elif field.dtype.startswith("Int"):
            rows[:, place] = np.clip(np.rint(rows[:, place]), -100, 100)
    return rows


def _shown(fields: tuple[Field, ...], example: bytes | None) -> Floats | None:
    """Rows of the input example, doubles in row order; None where there is none or it cannot be read."""
    if not example:
        return None
    try:
        frame = pl.read_parquet(io.BytesIO(example)).head(_EXAMPLES)
        columns = [frame[field.name].cast(dtype_of(field.dtype)).cast(pl.Float64).to_numpy() for field in fields]
    except (pl.exceptions.PolarsError, OSError, RungError):
        return None
    found = np.column_stack(columns).astype(np.float64)
    found[~np.isfinite(found)] = np.nan
    whole = ~(np.isnan(found) & ~np.array([field.nullable for field in fields])).any(axis=1)
    return np.ascontiguousarray(found[whole]) if whole.any() else None


def _asked(score: Callable[[Any], Floats], rows: Any) -> Floats | None:
    """Scores; None where the rows are refused."""
    try:
        with np.errstate(all="ignore"):
            return score(rows)
    except _REFUSED:
        return None


def _quietly(ask: Matrix, rows: Floats) -> Floats | None:
    """Scores; None where the rows are refused, or the library complains of columns without names."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = _asked(ask, rows)
    return None if any("feature names" in str(one.message) for one in told) else found


def _equal(expected: Floats | None, found: Floats | None) -> bool:
    if expected is None or found is None:
        return expected is found
    return expected.dtype == found.dtype and np.array_equal(expected, found, equal_nan=True)
