"""scikit-learn estimators as skops files, loaded against an exact list of reviewed types (``registry/trusted.py``)."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from operator import is_
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.format import (
    FORMATS,
    RowsScorer,
    Scorer,
    Traits,
    booster_errors,
    check_task,
    columns_f,
    numbers,
    only_file,
    plain_class,
    scores,
    unreadable,
    unscorable,
)
from rung.registry.openmp import OneThread
from rung.registry.records import Field
from rung.registry.shortcuts import shortcut
from rung.registry.soundness import check_estimator, checked_archive
from rung.registry.trusted import TRUSTED

FILE = "model.skops"
_FEW_ROWS = 2000
_TWO = 2
_NAMES = "feature_names_in_"
_TEXTS = "sklearn.feature_extraction.text"
_OWN_CLASSES = "Use scikit-learn's own classes; functions and classes of a project cannot be loaded safely."
_REMEDY = "SciPy's distributions build code from what they hold; of a search over them, register best_estimator_."
_UNWRITABLE = (NotImplementedError, TypeError, ValueError, AttributeError, RecursionError)
_DAMAGED = (
    BadZipFile,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    ImportError,
    NotImplementedError,
    RecursionError,
    OSError,
    EOFError,
    SyntaxError,
    TokenError,
    zlib.error,
)


@FORMATS.member("skops")
class Skops:
    """Anything with scikit-learn's protocol that skops can write, as one deflated archive."""

    rank = 50
    libraries = ("scikit-learn", "skops", "numpy")
    endings = (".skops",)

    @staticmethod
    def accepts(estimator: Any) -> bool:
        """Whether it is an instance of scikit-learn's base class, where that is loaded."""
        base = sys.modules.get("sklearn.base")
        return base is not None and isinstance(estimator, base.BaseEstimator)

    @staticmethod
    def save(estimator: Any) -> dict[str, bytes]:
        """The archive, without time stamps and addresses. Raises Invalid, naming what is not trusted."""
        from rung.pipelines.materialisers.estimator import Estimator  # noqa: PLC0415 - loads skops and scikit-learn

        try:
            data = Estimator.dump(estimator).data
        except _UNWRITABLE as error:
            raise Invalid(
                f"A {type(estimator).__name__} cannot be written: {str(error)[:300]}.",
                code="registry.unwritable",
                hint="Of a search, register best_estimator_; else choose another estimator.",
            ) from None
        content = data if isinstance(data, bytes) else data.read_bytes()
        _trusted(content)
        return {FILE: content}

    @staticmethod
    def adopt(data: bytes, ending: str) -> dict[str, bytes]:
        """A skops file, as it is."""
        return {FILE: data}

    @staticmethod
    def traits(files: Mapping[str, bytes]) -> Traits:
        """What the estimator says of itself."""
        return traits_of(read_estimator(only_file(files, FILE)))

    @staticmethod
    def load(files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer. Raises Invalid for a damaged file, a type that is not trusted, or an estimator of another task."""
        return Skops.open(files)[1](task)

    @staticmethod
    def open(files: Mapping[str, bytes]) -> tuple[Traits, Callable[[Task], Scorer]]:
        """What the estimator says of itself, and its scorer for a task: a forest is read once, not twice."""
        estimator = read_estimator(only_file(files, FILE))
        traits = traits_of(estimator)

        def load(task: Task) -> Scorer:
            check_task(traits, task)
            return scorer(estimator, task)

        return traits, load


def read_scorer(files: Mapping[str, bytes], task: Task) -> tuple[Any, Scorer]:
    """The estimator of a version's files and its scorer, from one reading. Raises as loading does."""
    estimator = read_estimator(only_file(files, FILE))
    check_task(traits_of(estimator), task)
    return estimator, scorer(estimator, task)


def read_estimator(data: bytes) -> Any:
    """The estimator of a skops file. Raises Invalid for a damaged file or a type that is not trusted."""
    from skops.io import loads  # noqa: PLC0415 - a second that those who serve nothing never pay
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415 - see above

    data = checked_archive(data)
    named = _trusted(data)
    try:
        estimator = loads(data, trusted=named)
    except UntrustedTypesFoundException as error:
        raise unreadable("The model's file hides types", error) from None
    except _DAMAGED as error:
        raise unreadable("The skops file cannot be read", error) from None
    check_estimator(estimator)
    return estimator


def traits_of(estimator: Any) -> Traits:
    """Task, classes and inputs of a fitted estimator of scikit-learn's protocol. Raises Invalid for one with parts missing."""
    try:
        return _traits(estimator)
    except _DAMAGED as error:
        raise unreadable(f"The {type(estimator).__name__} is not whole", error) from None


def _traits(estimator: Any) -> Traits:
    from sklearn.base import is_classifier, is_regressor  # noqa: PLC0415 - loaded with the estimator

    inputs = _inputs(estimator)
    if is_regressor(estimator):
        return Traits(task="regression", inputs=inputs)
    name = type(getattr(estimator, "_final_estimator", estimator)).__name__
    classes = getattr(estimator, "classes_", None)
    if not is_classifier(estimator) or classes is None:
        return Traits(inputs=inputs, reason=f"A {name} predicts neither classes nor values.")
    if isinstance(classes, list) or np.asarray(classes).ndim != 1:
        return Traits(inputs=inputs, reason=f"The {name} predicts several labels at once, not one.")
    if not hasattr(estimator, "predict_proba"):
        return Traits(inputs=inputs, reason=f"A {name} answers labels without probabilities; wrap it in CalibratedClassifierCV.")
    known = tuple(plain_class(value) for value in np.asarray(classes).tolist())
    if len(known) < _TWO:
        return Traits(inputs=inputs, reason=f"The {name} knows one class only, {known[0] if known else None!r}.")
    return Traits(task="binary" if len(known) == _TWO else "multiclass", classes=known, inputs=inputs)


def _inputs(estimator: Any) -> tuple[Field, ...]:
    if type(_first(estimator)).__module__ == _TEXTS:
        return (Field(name="text", dtype="String"),)
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return columns_f(int(getattr(estimator, "n_features_in_", 0)))
    kinds = _encoded(_first(estimator))
    return tuple(Field(name=str(name), dtype=kinds.get(str(name), "Float64")) for name in names)


def _first(estimator: Any) -> Any:
    """What is given the rows: the first step of a pipeline, also of one inside a search or a calibration."""
    found = getattr(estimator, "best_estimator_", estimator)
    calibrated = getattr(found, "calibrated_classifiers_", None)
    if calibrated:
        found = calibrated[0].estimator
    steps = getattr(found, "steps", None)
    return _first(steps[0][1]) if steps else found


def _encoded(columns: Any) -> dict[str, str]:
    """Types of the columns that an encoder of categories is given, by their names."""
    found: dict[str, str] = {}
    for _, step, names in getattr(columns, "transformers_", ()):
        categories = getattr(_first(step), "categories_", ())
        for name, known in zip(names if isinstance(names, list) else (), categories, strict=False):
            kind = np.asarray(known).dtype.kind
            found[str(name)] = "String" if kind in "OUT" else "Int64" if kind in "iu" else "Float64"
    return found


def scorer(estimator: Any, task: Task) -> Scorer:
    """How an estimator scores frames. It is given frames if it was fitted on named columns, else plain numbers."""
    method = "predict" if task == "regression" else "predict_proba"
    if not hasattr(estimator, method):
        raise Invalid(
            f"{type(estimator).__name__} has no {method}, which a {task} model needs.",
            code="registry.no_scores",
            hint="Wrap it, for example in CalibratedClassifierCV, or choose another estimator.",
        )
    ask, given, alone = getattr(estimator, method), _giving(estimator), OneThread()
    bare = without_names(estimator)
    unnamed, short = getattr(bare, method), shortcut(bare, method)

    def score(frame: pl.DataFrame) -> NDArray[np.float64]:
        rows = given(frame)
        try:
            return scores(alone(ask, rows) if frame.height < _FEW_ROWS else ask(rows), task)
        except booster_errors() as error:
            raise unscorable(error) from None

    def matrix(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        try:
            return scores(unnamed(rows), task)
        except booster_errors() as error:
            raise unscorable(error) from None

    return RowsScorer(score, matrix, None if short is None else lambda rows: scores(short(rows), task))


def without_names(value: Any) -> Any:
    """An estimator that remembers no names of columns, nor does any within it; all else is shared with the one given.

    One fitted on a frame complains of a matrix, which has no names, and takes longer to look at a frame than to score it.
    """
    if type(value) in {list, tuple}:
        parts = [without_names(part) for part in value]
        return value if all(map(is_, parts, value)) else type(value)(parts)
    if not type(value).__module__.startswith("sklearn.") or isinstance(value, dict) or not hasattr(value, "__dict__"):
        return value
    held = vars(value)
    kept = {name: without_names(part) for name, part in held.items() if name != _NAMES}
    if len(kept) == len(held) and all(part is held[name] for name, part in kept.items()):
        return value
    made = object.__new__(type(value))
    if "_transformer_to_input_indices" in kept:  # a column transformer, which chooses columns by their names
        places = kept["_transformer_to_input_indices"]
        kept["transformers_"] = [(name, step, places.get(name, columns)) for name, step, columns in kept["transformers_"]]
    made.__dict__.update(kept)
    return made


def _giving(estimator: Any) -> Callable[[pl.DataFrame], Any]:
    """Frames for what was fitted on named columns, a list for what reads texts, else a matrix."""
    if hasattr(estimator, "feature_names_in_"):
        return _categories if type(estimator).__module__.startswith(("lightgbm.", "xgboost.")) else lambda frame: frame
    if type(_first(estimator)).__module__ == _TEXTS:
        return lambda frame: frame.to_series(0).to_list()
    return _matrix


def _categories(frame: pl.DataFrame) -> Any:
    """For a booster: texts as categories of pandas, which it gives the codes of its fit; a frame of numbers as it is."""
    texts = [name for name, kind in frame.schema.items() if not kind.is_numeric() and kind != pl.Boolean]
    return frame.to_pandas().astype(dict.fromkeys(texts, "category")) if texts else frame


def _matrix(frame: pl.DataFrame) -> NDArray[Any]:
    """Doubles, or objects where a column holds texts."""
    if all(kind.is_numeric() or kind in (pl.Boolean, pl.Null) for kind in frame.dtypes):
        return numbers(frame)
    return np.array(frame.rows(), dtype=object).reshape(frame.height, frame.width)


def _trusted(data: bytes) -> list[str]:
    from skops.io import get_untrusted_types  # noqa: PLC0415 - see read_estimator

    try:
        named = get_untrusted_types(data=data)
    except _DAMAGED as error:
        raise unreadable("The file is no skops model", error) from None
    strangers = sorted(set(named) - TRUSTED)
    if strangers:
        raise Invalid(
            f"The model's file names types that are not trusted: {', '.join(strangers)}.",
            code="registry.untrusted_types",
            hint=_REMEDY if any(name.startswith("scipy.stats.") for name in strangers) else _OWN_CLASSES,
        )
    return sorted(named)
