"""Packing an estimator for registration: files, signature, classes, libraries; all of it found by trying, not by asking."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rung.core.errors import Invalid, RungError
from rung.core.references import Task
from rung.pipelines.artifacts import Dataset, Model
from rung.registry.format import FORMATS, Format, Scorer, Traits, format_for, format_of, opened, plain_class
from rung.registry.matching import UNSCORABLE, signature_of
from rung.registry.own_code import at_home, brings_code
from rung.registry.records import Class, Field, Signature

_TRIED_ROWS = 200
_KEPT_ROWS = 100
_LARGEST_EXAMPLE = 1_000_000
WRONG_TASK = "registry.wrong_task"
_FAILURES = (*UNSCORABLE, RungError)


@dataclass(frozen=True)
class Packed:
    """An estimator as it will be registered."""

    format: str
    files: dict[str, bytes]
    signature: Signature
    task: Task
    classes: tuple[Class, ...]
    libraries: dict[str, str]
    example: bytes | None


def pack(estimator: Any, example: pl.DataFrame, *, task: Task | None = None, format: str | None = None) -> Packed:
    """Write an estimator, load it back, and see that both score the example alike; a model's file is taken as it is.

    A column may be null if the example holds a null in it, or if the model scores a row whose value was taken away.

    Raises:
        Invalid: no format takes the estimator, it names untrusted types, or it answers otherwise after loading.
        Unavailable: the library that reads the format is not installed.
    """
    if not example.height:
        raise Invalid("The example has no rows.", code="registry.empty_example", hint="Give some rows of the training inputs.")
    estimator = estimator.estimator if isinstance(estimator, Model) else estimator
    given = estimator if format is not None else _as_graph(estimator, example.head(_TRIED_ROWS), task)
    name, files = _written(given, format)
    kind = FORMATS.get(name)
    with at_home():
        return _packed(estimator, example, name, files, kind, task)


def _packed(estimator: Any, example: pl.DataFrame, name: str, files: dict[str, bytes], kind: Format, task: Task | None) -> Packed:
    traits, load = opened(kind, files)
    found = task or _task(estimator, traits)
    scorer = load(found)
    head = example.head(_TRIED_ROWS)
    scores = tried(scorer, head)
    classes = _classes(estimator, found, traits, scores)
    nullable = frozenset(nullable_columns(scorer, head.head(2)))
    if not brings_code(kind):
        _same_as(estimator, head, found, scores)
    signature = signature_of(example, output_fields(found, classes), nullable)
    return Packed(name, files, signature, found, classes, _libraries(kind.libraries), example_bytes(example))


def example_bytes(frame: pl.DataFrame) -> bytes | None:
    """The first rows as Parquet of at most a megabyte; None when even one row is larger."""
    rows = min(frame.height, _KEPT_ROWS)
    while rows:
        buffer = io.BytesIO()
        frame.head(rows).write_parquet(buffer, compression="zstd", statistics=False)
        if buffer.tell() <= _LARGEST_EXAMPLE:
            return buffer.getvalue()
        rows //= 2
    return None


def output_fields(task: Task, classes: tuple[Class, ...]) -> tuple[Field, ...]:
    """Columns of the scores: one a class of several, else one."""
    names = [f"score_{value}" for value in classes] if task == "multiclass" else ["score"]
    return tuple(Field(name=name, dtype="Float64") for name in names)


def _as_graph(estimator: Any, example: pl.DataFrame, task: Task | None) -> Any:
    """A module of PyTorch as an ONNX graph; anything else as it is. Raises Invalid."""
    if "torch" not in sys.modules:
        return estimator
    from rung.registry.torch_modules import exported, is_module  # noqa: PLC0415 - only those who use PyTorch need it

    return exported(estimator, example, task) if is_module(estimator) else estimator


def _written(estimator: Any, format: str | None) -> tuple[str, dict[str, bytes]]:
    """Format and files of an estimator, or of a model's file given by its path. Raises Invalid."""
    if not isinstance(estimator, Path) or estimator.is_dir():
        name = format or format_for(estimator)
        return name, FORMATS.get(name).save(estimator)
    found = format_of(estimator)
    if found is None or (format is not None and format != found[0]):
        raise Invalid(
            f"{estimator.name!r} is no file of {f'the format {format!r}' if format else 'a model format'}.",
            code="registry.no_format",
            hint=f"Files are told by their endings: {', '.join(ending for _, kind in FORMATS.items() for ending in kind.endings)}.",
        )
    return found[0], FORMATS.get(found[0]).adopt(estimator.read_bytes(), found[1])


def as_polars(frame: Any) -> pl.DataFrame:
    """A Polars frame of a Polars, pandas or Arrow one, of a Dataset, or of a Parquet or CSV file. Raises Invalid."""
    if isinstance(frame, Dataset):
        return frame.polars
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


def tried(scorer: Scorer, frame: pl.DataFrame) -> np.ndarray:
    """Scores of an example. Raises Invalid when the model cannot give them."""
    try:
        return scorer(frame)
    except _FAILURES as error:
        if isinstance(error, RungError) and error.code == WRONG_TASK:
            raise  # whatever the rows
        raise Invalid(
            f"The model cannot score its example: {getattr(error, 'message', error)}",
            code="registry.bad_example",
            hint=getattr(error, "hint", None) or "The example must hold the columns the model was fitted on, without the label.",
        ) from None


def nullable_columns(scorer: Scorer, rows: pl.DataFrame) -> list[str]:
    """Columns the model can do without: all, if a row without any value is scored, else those tried one by one."""
    if _takes_null(scorer, rows, rows.columns):
        return rows.columns
    return [column for column in rows.columns if _takes_null(scorer, rows, [column])]


def _takes_null(scorer: Scorer, rows: pl.DataFrame, columns: list[str]) -> bool:
    emptied = rows.with_columns(pl.lit(None, dtype=rows[column].dtype).alias(column) for column in columns)
    try:
        return bool(np.isfinite(scorer(emptied)).all())
    except _FAILURES:
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


def _task(estimator: Any, traits: Traits) -> Task:
    if traits.task is not None:
        return traits.task
    classes = getattr(estimator, "classes_", None)
    if classes is None or traits.reason:
        told = traits.reason or f"A {type(estimator).__name__} does not say what it predicts."
        raise Invalid(told, code="registry.no_task", hint="Say task='regression' or another, if it is one.")
    return "binary" if len(classes) == 2 else "multiclass"  # noqa: PLR2004 - what binary means


def _classes(estimator: Any, task: Task, traits: Traits, scores: np.ndarray) -> tuple[Class, ...]:
    if task == "regression":
        return ()
    held = getattr(estimator, "classes_", None)
    if held is None:
        return traits.classes or tuple(range(2 if scores.ndim == 1 else scores.shape[1]))
    return tuple(plain_class(value) for value in np.asarray(held).tolist())


def _libraries(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
