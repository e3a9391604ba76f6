"""What tests of pipelines say in one line: that a model answers each row, learns, stays finite; that a value can be kept.

Rows are Polars or pandas frames, models have ``predict`` as in scikit-learn; of classifiers ``predict_proba`` is used.
"""

# ruff: noqa: S101 - assertions are what tests are made of
from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rung.core.errors import Invalid
from rung.pipelines.materialisers import load, materialise
from rung.pipelines.materialisers.family import MATERIALISERS

Floats = npt.NDArray[np.float64]
_LARGE = 1e6


def read_sample(path: Path | str) -> Any:
    """A Polars frame from a Parquet, CSV or NDJSON file. Raises Invalid for another kind of file."""
    import polars as pl  # noqa: PLC0415 - tests without frames never load it

    readers: dict[str, Callable[..., Any]] = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".ndjson": pl.read_ndjson}
    suffix = Path(path).suffix
    if suffix not in readers:
        raise Invalid(f"{path} is no sample.", code="pipelines.bad_sample", hint=f"Write one of {', '.join(readers)}.")
    return readers[suffix](path)


def seeded(function: Callable[..., Any], **arguments: Any) -> Any:
    """What a step answers with the generators of Python and NumPy seeded by 0, as the engine seeds them by the step's own."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
    return function(**arguments)


def first_rows(rows: Any, count: int, label: str = "") -> Any:
    """The first rows of a frame; with a ``label`` as evenly over its values as they are there, so that no value is missing."""
    if not label:
        return rows.head(count)
    values = np.asarray(rows[label])
    kinds = np.unique(values)
    if kinds.size > max(2, count // 4):  # a number to predict, not a class
        return rows.head(count)
    chosen = np.sort(np.concatenate([np.flatnonzero(values == kind)[: max(1, count // kinds.size)] for kind in kinds]))
    return rows[chosen] if not hasattr(rows, "iloc") else rows.iloc[chosen]


def inputs_of(model: Any, rows: Any, label: str) -> Any:
    """The columns a model was trained on: those it names itself, else all but the label."""
    named = getattr(model, "feature_names_in_", None)
    columns = [str(name) for name in named] if named is not None else [name for name in rows.columns if name != label]
    return rows[columns]


def predictions(model: Any, rows: Any, label: str) -> Floats:
    """Probabilities of a classifier, shape (rows, classes), or the numbers of a regressor, shape (rows, 1)."""
    inputs = inputs_of(model, rows, label)
    found = model.predict_proba(inputs) if hasattr(model, "predict_proba") else model.predict(inputs)
    array = np.asarray(found, dtype=np.float64)
    return array.reshape(len(array), -1)


def share_of_constant_loss(model: Any, rows: Any, label: str) -> float:
    """The model's loss on rows as a share of that of the best constant answer: 1 has learnt nothing, 0 knows every row.

    Log loss for classifiers, mean squared error for regressors. Raises Invalid for rows whose label has one value only.
    """
    truth = np.asarray(rows[label])
    if np.unique(truth).size < 2:  # noqa: PLR2004 - nothing to learn from one value
        raise Invalid(f"Every row has the same {label!r}.", code="pipelines.one_label", hint="Take a sample that has several.")
    found = predictions(model, rows, label)
    if not hasattr(model, "predict_proba"):
        target = truth.astype(np.float64)
        return float(np.mean((found[:, 0] - target) ** 2) / np.var(target))
    classes = list(model.classes_)
    place = np.array([classes.index(value) for value in truth])
    chosen = np.clip(found[np.arange(len(place)), place], 1e-12, 1.0)
    shares = np.bincount(place, minlength=len(classes)) / len(place)
    entropy = -sum(share * np.log(share) for share in shares if share > 0)
    return float(-np.mean(np.log(chosen)) / entropy)


def assert_answers_each_row(model: Any, rows: Any, label: str) -> None:
    """A model gives one finite answer a row, and a classifier probabilities that add up to one and classes it has seen."""
    inputs = inputs_of(model, rows, label)
    answers = np.asarray(model.predict(inputs))
    assert len(answers) == len(rows), f"{len(rows)} rows, {len(answers)} answers"
    found = predictions(model, rows, label)
    assert np.isfinite(found).all(), "an answer is not finite"
    if hasattr(model, "predict_proba"):
        assert np.allclose(found.sum(axis=1), 1.0, atol=1e-6), "probabilities do not add up to one"
        assert set(np.unique(answers)) <= set(np.unique(np.asarray(rows[label]))), "a class that no row has"


def assert_learns(model: Any, rows: Any, label: str, *, share: float) -> None:
    """A model's loss on rows is at most a share of that of the best constant answer."""
    found = share_of_constant_loss(model, rows, label)
    assert found <= share, f"its loss is {found:.3f} of a constant answer's, more than {share}"


def extremes(rows: Any, label: str) -> Iterator[tuple[str, Any]]:
    """Copies of rows, each with one extreme in every number column but the label: zeros, negatives, a million times as large."""
    import polars as pl  # noqa: PLC0415 - see read_sample

    frame = rows if isinstance(rows, pl.DataFrame) else pl.from_pandas(rows)
    numbers = [name for name, kind in frame.schema.items() if kind.is_numeric() and name != label]
    changes: dict[str, Callable[[pl.Expr], pl.Expr]] = {
        "zeros": lambda column: column * 0,
        "negatives": lambda column: -column.cast(pl.Float64).abs(),
        "large": lambda column: column.cast(pl.Float64) * _LARGE,
        "small": lambda column: column.cast(pl.Float64) / _LARGE,
    }
    for name, change in changes.items():
        changed = frame.with_columns(change(pl.col(column)).alias(column) for column in numbers)
        yield name, changed if isinstance(rows, pl.DataFrame) else changed.to_pandas()


def assert_finite_on_extremes(model: Any, rows: Any, label: str) -> None:
    """A model answers finite numbers on extreme rows."""
    for name, extreme in extremes(rows, label):
        assert np.isfinite(predictions(model, extreme, label)).all(), f"an answer to {name} is not finite"


def assert_same_answers(one: Any, other: Any, rows: Any, label: str) -> None:
    """Two models answer the same."""
    assert np.array_equal(predictions(one, rows, label), predictions(other, rows, label)), "the same training gives other answers"


def assert_kept(value: Any, *, of: str) -> None:
    """A value can be kept as an artifact and comes back equal. ``of`` names the step, for the message."""
    kind, payload = materialise(value, where=f"output of step {of!r}")
    with tempfile.TemporaryDirectory(prefix="rung-") as folder:
        back = load(kind, payload, Path(folder))
        again = materialise(back, where=f"output of step {of!r}")[1]
        if kind == "estimator":  # its answers are compared by the checks of models; private parts are made anew in loading
            assert type(back) is type(value), f"what {of} answers comes back as a {type(back).__qualname__}"
        elif again.data != payload.data:
            difference = MATERIALISERS.get(kind).compare(value, back, 0.0)
            assert difference.likeness != "different", f"what {of} answers does not come back equal: {difference.detail}"


def assert_same_value(one: Any, other: Any, *, of: str) -> None:
    """Two answers of a step are kept as the same bytes, or at least have equal values."""
    kind, first = materialise(one, where=f"output of step {of!r}")
    second = materialise(other, where=f"output of step {of!r}")[1]
    if first.data != second.data:
        difference = MATERIALISERS.get(kind).compare(one, other, 0.0)
        assert difference.likeness != "different", f"{of} answers otherwise the second time: {difference.detail}"


def assert_sound_features(features: Any) -> None:
    """A table of features has rows, every column has a value somewhere, and no number in it is infinite."""
    import polars as pl  # noqa: PLC0415 - see read_sample

    frame = features if isinstance(features, pl.DataFrame) else pl.from_pandas(features)
    assert frame.height > 0, "there are no rows"
    for name, kind in frame.schema.items():
        assert frame[name].null_count() < frame.height, f"column {name} has no value"
        assert not kind.is_float() or not bool(frame[name].is_infinite().any()), f"column {name} has infinite numbers"
