"""Packing an estimator for registration: files, signature, classes, libraries; all of it found by trying, not by asking."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.format import FORMATS, Scorer, format_for
from rung.registry.predictor import signature_of
from rung.registry.records import Class, Field, Signature

_TRIED_ROWS = 200


@dataclass(frozen=True)
class Packed:
    """An estimator as it will be registered."""

    format: str
    files: dict[str, bytes]
    signature: Signature
    task: Task
    classes: tuple[Class, ...]
    libraries: dict[str, str]


def pack(estimator: Any, example: pl.DataFrame, *, task: Task | None = None, format: str | None = None) -> Packed:
    """Write an estimator, load it back, and see that both score the example alike.

    A column may be null if the example holds a null in it, or if the model scores a row whose value was taken away.

    Raises:
        Invalid: no format takes the estimator, it names untrusted types, or it answers otherwise after loading.
    """
    if not example.height:
        raise Invalid("The example has no rows.", code="registry.empty_example", hint="Give some rows of the training inputs.")
    name = format or format_for(estimator)
    kind = FORMATS.get(name)
    files = kind.save(estimator)
    found = task or _task(estimator)
    scorer = kind.load(files, found)
    head = example.head(_TRIED_ROWS)
    scores = _tried(scorer, head)
    classes = _classes(estimator, found, scores)
    nullable = frozenset(_nullable(scorer, head.head(2)))
    outputs = tuple(Field(name=column, dtype="Float64") for column in _output_names(found, classes))
    _same_as(estimator, head, found, scores)
    return Packed(name, files, signature_of(example, outputs, nullable), found, classes, _libraries(kind.libraries))


def as_polars(frame: Any) -> pl.DataFrame:
    """A Polars frame of a Polars, pandas or Arrow one, or of a Parquet or CSV file. Raises Invalid."""
    if isinstance(frame, Path):
        return _read(frame)
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if hasattr(frame, "columns") and hasattr(frame, "to_dict"):
        return pl.from_pandas(frame)
    try:
        return pl.DataFrame(frame)
    except (TypeError, ValueError) as error:
        raise Invalid(f"{type(frame).__name__} is no table: {error}.", code="registry.bad_example", hint="Give a data frame.") from None


def _read(file: Path) -> pl.DataFrame:
    try:
        return pl.read_csv(file) if file.suffix.lower() == ".csv" else pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise Invalid(f"{file} is no table: {reason}", code="registry.bad_example", hint="Give Parquet, or CSV named .csv.") from None


def _tried(scorer: Scorer, frame: pl.DataFrame) -> np.ndarray:
    try:
        return scorer(frame)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, pl.exceptions.PolarsError) as error:
        raise Invalid(
            f"The model cannot score its example: {error}",
            code="registry.bad_example",
            hint="The example must hold the columns the model was fitted on, without the label.",
        ) from None


def _nullable(scorer: Scorer, rows: pl.DataFrame) -> list[str]:
    """Columns the model can do without: all, if a row without any value is scored, else those tried one by one."""
    if _takes_null(scorer, rows, rows.columns):
        return rows.columns
    return [column for column in rows.columns if _takes_null(scorer, rows, [column])]


def _takes_null(scorer: Scorer, rows: pl.DataFrame, columns: list[str]) -> bool:
    emptied = rows.with_columns(pl.lit(None, dtype=rows[column].dtype).alias(column) for column in columns)
    try:
        return bool(np.isfinite(scorer(emptied)).all())
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, pl.exceptions.PolarsError):
        return False  # that it raises is the answer


def _same_as(estimator: Any, head: pl.DataFrame, task: Task, scores: np.ndarray) -> None:
    if not hasattr(estimator, "predict_proba" if task != "regression" else "predict"):
        return
    from rung.registry.formats.skops import scorer  # noqa: PLC0415 - scikit-learn's protocol, whatever the format

    original = scorer(estimator, task)(head)
    if not np.allclose(original, scores, rtol=1e-5, atol=1e-7, equal_nan=True):
        raise Invalid(
            "The model answers otherwise after it was written and loaded.",
            code="registry.not_faithful",
            hint="Choose another format with format=….",
        )


def _task(estimator: Any) -> Task:
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        from sklearn.base import BaseEstimator, is_regressor  # noqa: PLC0415 - loaded already when it is one of its estimators

        if isinstance(estimator, BaseEstimator) and is_regressor(estimator):
            return "regression"
        raise Invalid(
            f"A {type(estimator).__name__} does not say whether it classifies.",
            code="registry.no_task",
            hint="Say task='regression' or another.",
        )
    return "binary" if len(classes) == 2 else "multiclass"  # noqa: PLR2004 - what binary means


def _classes(estimator: Any, task: Task, scores: np.ndarray) -> tuple[Class, ...]:
    if task == "regression":
        return ()
    held = getattr(estimator, "classes_", None)
    if held is None:
        return tuple(range(2 if scores.ndim == 1 else scores.shape[1]))
    return tuple(_plain(value) for value in np.asarray(held).tolist())


def _plain(value: Any) -> Class:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, (str, bool, int)):
        return value
    raise Invalid(f"{value!r} cannot be a class.", code="registry.bad_class", hint="Use texts, integers or booleans as labels.")


def _output_names(task: Task, classes: tuple[Class, ...]) -> list[str]:
    if task == "multiclass":
        return [f"score_{value}" for value in classes]
    return ["score"]


def _libraries(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
