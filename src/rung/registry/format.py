"""What a model format is: how an estimator becomes files, and files become a scorer without running code from them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid, Unavailable
from rung.core.families import Family
from rung.core.references import Task
from rung.registry.records import Class, Field

Scorer = Callable[[pl.DataFrame], NDArray[np.float64]]
_TWO = 2


@dataclass(frozen=True)
class RowsScorer:
    """A scorer of frames whose library takes ``matrix`` as well: float64 of shape (n, inputs), NaN where a number is missing.

    ``shorter`` does the same in less time, where there is such a way. Whether they answer alike is for who loads the model to find
    out. Nothing limits the threads of a matrix's scoring.
    """

    frames: Scorer
    matrix: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    shorter: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None

    def __call__(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        """Scores of a frame."""
        return self.frames(frame)


@dataclass(frozen=True)
class Traits:
    """What the files of a model tell about it, as far as they do.

    ``task`` is None when they do not say what is predicted, or when it is none of ours; then ``reason`` tells which.
    ``inputs`` are the columns in order; where only their number is known they are called f0, f1, …; their types are
    those the file names, Float64 where it names none. Empty: not even the number is known.
    """

    task: Task | None = None
    classes: tuple[Class, ...] = ()
    inputs: tuple[Field, ...] = ()
    reason: str = ""


class Format(Protocol):
    """A member of the family. Formats of lower ``rank`` are asked first whether they accept an estimator.

    ``endings`` are those of the files that other tools write in this format; a file given by its path is kept as it is.
    """

    rank: int
    libraries: tuple[str, ...]
    endings: tuple[str, ...]

    def accepts(self, estimator: Any) -> bool:
        """Whether the estimator can be written."""
        ...

    def save(self, estimator: Any) -> dict[str, bytes]:
        """The estimator as files by name. Equal estimators give equal bytes."""
        ...

    def adopt(self, data: bytes, ending: str) -> dict[str, bytes]:
        """A file that another tool wrote, under this format's own name for it."""
        ...

    def traits(self, files: Mapping[str, bytes]) -> Traits:
        """What the files tell. Raises as ``load`` does."""
        ...

    def load(self, files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer of files: P(positive), P(class) as a matrix, or values.

        Raises:
            Invalid: the files are damaged, hold what is not trusted, or are a model of another task.
            Unavailable: the library that reads them is not installed.
        """
        ...


FORMATS: Family[Format] = Family("formats", "rung.registry.formats")


def opened(kind: Format, files: Mapping[str, bytes]) -> tuple[Traits, Callable[[Task], Scorer]]:
    """Traits of files, and what gives their scorer for a task. A format that can do both from one reading has ``open``."""
    once: Callable[[Mapping[str, bytes]], tuple[Traits, Callable[[Task], Scorer]]] | None = getattr(kind, "open", None)
    return once(files) if once is not None else (kind.traits(files), lambda task: kind.load(files, task))


def format_for(estimator: Any) -> str:
    """Name of the first format that accepts an estimator. Raises Invalid."""
    for name, item in sorted(FORMATS.items(), key=lambda pair: pair[1].rank):
        if item.accepts(estimator):
            return name
    raise Invalid(
        f"No model format can write a {type(estimator).__name__}.",
        code="registry.no_format",
        hint=f"Known formats: {', '.join(FORMATS.names())}.",
    )


def format_of(file: Path | str) -> tuple[str, str] | None:
    """The format that reads files of this name and the ending it goes by; None when no format does."""
    lowered = str(file).lower()
    for name, item in sorted(FORMATS.items(), key=lambda pair: pair[1].rank):
        for ending in item.endings:
            if lowered.endswith(ending):
                return name, ending
    return None


def only_file(files: Mapping[str, bytes], *names: str) -> bytes:
    """The bytes of the one file a format writes, under one of its names. Raises Invalid when it is not there."""
    if len(files) != 1 or not set(files) <= set(names):
        wanted = " or ".join(repr(name) for name in names)
        raise Invalid(
            f"A model of this format has the file {wanted}, not {', '.join(sorted(files)) or 'none'}.",
            code="registry.wrong_files",
            hint="Register it with `client.registry.register`.",
        )
    return next(iter(files.values()))


def unreadable(what: str, error: object = "") -> Invalid:
    """The error for bytes that are no model of a format."""
    reason = str(error).strip().splitlines()[0][:300].rstrip(".") if str(error).strip() else ""
    return Invalid(f"{what}{f': {reason}' if reason else ''}.", code="registry.unreadable_model", hint="Register it anew.")


def missing_library(name: str, extra: str) -> Unavailable:
    """The error for a format whose library is not installed."""
    return Unavailable(f"{name} is not installed here.", code="registry.no_library", hint=f"pip install 'rung[{extra}]'.")


def check_task(found: Traits, task: Task) -> None:
    """Raise Invalid when the files say that the model predicts something else than asked."""
    if found.task is not None and found.task != task:
        raise Invalid(
            f"The model's file is of a {found.task} model, not a {task} one.",
            code="registry.wrong_task",
            hint=f"Register it as {found.task}.",
        )


def plain_class(value: Any) -> Class:
    """A label as it is kept. Raises Invalid for what no label can be."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, (str, bool, int)):
        return value
    raise Invalid(f"{value!r} cannot be a class.", code="registry.bad_class", hint="Use texts, integers or booleans as labels.")


def columns_f(count: int) -> tuple[Field, ...]:
    """Inputs of a model that knows their number only."""
    return tuple(Field(name=f"f{place}", dtype="Float64") for place in range(count))


def ordered(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The frame's columns in the order of the fit: by name if it has those names, else as they come.

    Raises:
        Invalid: there are fewer or more than the model was fitted on.
    """
    if frame.columns == list(names):
        return frame
    if set(names) <= set(frame.columns):
        return frame.select(names)
    if len(names) != frame.width:
        raise Invalid(
            f"The model takes {len(names)} columns, not {frame.width}.", code="registry.bad_input", hint="Give those it was fitted on."
        )
    return frame


def coded(frame: pl.DataFrame, categories: Mapping[int, pl.Series]) -> pl.DataFrame:
    """The frame with each category replaced by its number in the fit, by the column's place; one never met is null."""
    columns = frame.get_columns()
    for place, known in categories.items():
        given = columns[place]
        texts = known.dtype == pl.String
        given = given.cast(pl.String if texts else pl.Float64, strict=False)
        old = known if texts else known.cast(pl.Float64)
        columns[place] = given.replace_strict(old, range(len(old)), default=None, return_dtype=pl.Float64)
    return pl.DataFrame(columns)


def numbers(frame: pl.DataFrame) -> NDArray[np.float64]:
    """The frame as a matrix of doubles, nulls as NaN. Raises Invalid for texts."""
    try:
        if any(kind != pl.Float64 for kind in frame.dtypes):  # a cast of a frame costs a millisecond, even of one that needs none
            frame = pl.DataFrame([column.cast(pl.Float64) for column in frame.get_columns()])
        return np.asarray(frame.to_numpy(), dtype=np.float64)
    except pl.exceptions.PolarsError:
        texts = [name for name, kind in frame.schema.items() if not kind.is_numeric() and kind != pl.Boolean]
        raise Invalid(
            f"The model takes numbers, and {', '.join(texts)} hold none.", code="registry.bad_input", hint="Encode them before the fit."
        ) from None


def booster_errors() -> tuple[type[Exception], ...]:
    """What LightGBM raises of its own, where it is loaded; it derives from no error of Python's that says more."""
    library = sys.modules.get("lightgbm")
    return (library.basic.LightGBMError,) if library is not None else ()


def unscorable(error: Exception) -> Invalid:
    """The error for rows that a library refused."""
    return Invalid(
        f"The model cannot score these rows: {' '.join(str(error).split())[:300]}.", code="registry.bad_input",
        hint="Send values of the kind it was fitted on.",
    )  # fmt: skip


def scores(found: Any, task: Task, positive: int = 1) -> NDArray[np.float64]:
    """What a library answered, in the shape of the task. Raises Invalid for any other shape."""
    array = np.asarray(found, dtype=np.float64)
    if task == "binary":
        array = array[:, positive] if array.ndim == _TWO and array.shape[1] == _TWO else array
    if task != "multiclass":
        array = array[:, 0] if array.ndim == _TWO and array.shape[1] == 1 else array
    if array.ndim != (_TWO if task == "multiclass" else 1):
        several = array.ndim == _TWO and task == "regression"
        told = (
            f"{array.shape[1]} values a row at once, not one" if several else f"an array of shape {array.shape}, which is no {task} model's"
        )
        raise Invalid(
            f"The model answers {told}.", code="registry.wrong_task",
            hint="Fit one model a value." if several else "Choose another task.",
        )  # fmt: skip
    return array
