"""Artifact types: what steps hand on under a name that says what it is: Dataset, Model, Metrics, Report, File.

Each is a thin shell around what a library made, so that pipelines show it and reproductions compare it by its kind.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rung.core.errors import Invalid
from rung.core.references import DatasetUse

if TYPE_CHECKING:
    import polars as pl

_LONGEST = 250


class Metrics(dict[str, float]):
    """Numbers by name: ``Metrics(auc=0.9)``. Those that a step answers are logged to the run it belongs to.

    Raises:
        Invalid: a name is no text, or a value no number. NaN and infinities are numbers.
    """

    def __init__(self, values: Mapping[str, float] | None = None, /, **more: float) -> None:
        if values is not None and not isinstance(values, Mapping):
            raise _wrong(f"Metrics are numbers by name, not {values!r}", "Write Metrics(auc=0.9) or Metrics({...}).")
        super().__init__({_name(name): _number(name, value) for name, value in {**(values or {}), **more}.items()})

    def __setitem__(self, name: str, value: float) -> None:
        super().__setitem__(_name(name), _number(name, value))

    def __repr__(self) -> str:
        return f"Metrics({', '.join(f'{name}={value:.6g}' for name, value in self.items())})"


@dataclass(frozen=True)
class Report:
    """A text for people, shown beside the step that wrote it.

    Args:
        title: its heading.
        text: what it says, in ``format``.
        format: ``markdown``, ``html`` or ``text``.
    """

    title: str
    text: str
    format: Literal["markdown", "html", "text"] = "markdown"

    def __post_init__(self) -> None:
        for name, value in (("title", self.title), ("text", self.text)):
            if not isinstance(value, str):
                raise _wrong(f"The {name} of a report is {value!r}, no text", "Give a str.")
        if self.format not in {"markdown", "html", "text"}:
            raise _wrong(f"A report cannot be written in {self.format!r}", "Write markdown, html or text.")
        if not self.title.strip() or len(self.title) > _LONGEST:
            raise _wrong(f"A report cannot be titled {self.title[:80]!r}", f"Write 1 to {_LONGEST} characters.")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows with a name: a frame of Polars, pandas or Arrow.

    Args:
        frame: the rows; a Polars lazy frame is collected when they are kept.
        name: what they are called.
        version: the dataset version they come from, if any.
    """

    frame: Any
    name: str = ""
    version: DatasetUse | None = None

    def __post_init__(self) -> None:
        kind = type(self.frame)
        if kind.__module__.partition(".")[0] not in {"polars", "pandas", "pyarrow"} or not hasattr(kind, "columns"):
            raise _wrong(f"A dataset cannot be made of a {kind.__module__}.{kind.__qualname__}", "Give a Polars, pandas or Arrow frame.")
        if not isinstance(self.name, str) or len(self.name) > _LONGEST:
            raise _wrong(f"A dataset cannot be called {self.name!r}", f"Write a text of at most {_LONGEST} characters.")

    @property
    def polars(self) -> pl.DataFrame:
        """The rows as a Polars frame."""
        import polars  # noqa: PLC0415 - only where rows are read as Polars

        if isinstance(self.frame, polars.LazyFrame):
            return self.frame.collect()
        if isinstance(self.frame, polars.DataFrame):
            return self.frame
        made = polars.from_pandas(self.frame) if type(self.frame).__module__.startswith("pandas") else polars.from_arrow(self.frame)
        return made if isinstance(made, polars.DataFrame) else made.to_frame()

    @property
    def columns(self) -> list[str]:
        """Names of its columns."""
        return [str(name) for name in getattr(self.frame, "column_names", None) or self.polars.columns]

    def __len__(self) -> int:
        return self.polars.height


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted estimator, with what is known of it.

    Args:
        estimator: fitted; of a kind that can be kept, as scikit-learn's are.
        name: what it is called.
        metrics: how good it was found.
    """

    estimator: Any
    name: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.estimator is None or isinstance(self.estimator, (str, bytes, int, float, list, dict, type, Model)):
            raise _wrong(f"A model cannot be made of {self.estimator!r:.80}", "Give a fitted estimator.")
        if not isinstance(self.name, str) or len(self.name) > _LONGEST:
            raise _wrong(f"A model cannot be called {self.name!r}", f"Write a text of at most {_LONGEST} characters.")
        object.__setattr__(self, "metrics", Metrics(self.metrics))

    def predict(self, rows: Any) -> Any:
        """What the estimator answers for rows."""
        return self.estimator.predict(rows)

    def predict_proba(self, rows: Any) -> Any:
        """The probabilities of the classes, where the estimator gives them."""
        return self.estimator.predict_proba(rows)


@dataclass(frozen=True)
class File:
    """A file that a step wrote; where it is read it is a fresh copy of the same name. ``open(file)`` works.

    Args:
        path: where it lies now.
        media_type: what is in it, such as ``image/png``; default by its name.
    """

    path: Path
    media_type: str = ""

    def __init__(self, path: str | os.PathLike[str], media_type: str = "") -> None:
        object.__setattr__(self, "path", Path(path))
        object.__setattr__(self, "media_type", media_type)

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.name

    def read_bytes(self) -> bytes:
        """What is in it."""
        return self.path.read_bytes()

    def read_text(self) -> str:
        """What is in it, as UTF-8."""
        return self.path.read_text("utf-8")

    def __fspath__(self) -> str:
        return str(self.path)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name or len(name) > _LONGEST:
        raise _wrong(f"A metric cannot be called {name!r}", f"Write a text of 1 to {_LONGEST} characters.")
    return name


def _number(name: Any, value: Any) -> float:
    if isinstance(value, (str, bytes, bool)) or not hasattr(value, "__float__"):
        raise _wrong(f"Metric {name!r} is {value!r}, no number", "Give a number.")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise _wrong(f"Metric {name!r} is {value!r}, no number", "Give a number.") from None


def _wrong(message: str, hint: str) -> Invalid:
    return Invalid(f"{message}.", code="pipelines.bad_artifact", hint=hint)
