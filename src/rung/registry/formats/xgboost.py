"""XGBoost boosters in their own UBJSON or JSON: numbers and split rules, parsed by XGBoost, no code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.registry.boosters import check_xgboost
from rung.registry.format import (
    FORMATS,
    RowsScorer,
    Scorer,
    Traits,
    check_task,
    coded,
    columns_f,
    missing_library,
    numbers,
    only_file,
    ordered,
    scores,
    unreadable,
)
from rung.registry.records import Field

FILE, TEXT_FILE = "model.ubj", "model.json"
_NO_SCORES = {
    "binary:logitraw": "answers log odds, not probabilities; fit it with binary:logistic",
    "binary:hinge": "answers labels, not probabilities; fit it with binary:logistic",
    "survival:aft": "is a survival model",
    "survival:cox": "is a survival model",
}


@FORMATS.member("xgboost")
class XgBoost:
    """An ``xgboost.Booster``, or the classifier and regressor around one. Texts are taken where it was fitted on categories."""

    rank = 20
    libraries = ("xgboost", "xgboost-cpu", "numpy")
    endings = (".ubj", ".json", ".xgb")

    @staticmethod
    def accepts(estimator: Any) -> bool:
        """Whether it is XGBoost's, where that is loaded."""
        library = sys.modules.get("xgboost")
        return library is not None and isinstance(estimator, (library.Booster, library.XGBModel))

    @staticmethod
    def save(estimator: Any) -> dict[str, bytes]:
        """The booster in UBJSON, without the rounds that early stopping found worse. Raises Invalid for what it would lose."""
        if hasattr(estimator, "get_booster"):
            missing = estimator.get_params().get("missing", np.nan)
            if missing is not None and not np.isnan(missing):
                raise Invalid(
                    f"XGBoost's file does not keep that {missing} means a missing value.",
                    code="registry.not_faithful",
                    hint="Replace it by null before the fit.",
                )
            booster = estimator.get_booster()
            stopped = booster.attributes().get("best_iteration")
            if stopped is not None and getattr(estimator, "early_stopping_rounds", None):
                booster = booster[: int(stopped) + 1]
        else:
            booster = estimator
        return {FILE: bytes(booster.save_raw("ubj"))}

    @staticmethod
    def adopt(data: bytes, ending: str) -> dict[str, bytes]:
        """JSON keeps its ending; everything else must be UBJSON."""
        return {TEXT_FILE if ending == ".json" else FILE: data}

    @staticmethod
    def traits(files: Mapping[str, bytes]) -> Traits:
        """What the booster's configuration says."""
        return _traits(_booster(files))

    @staticmethod
    def load(files: Mapping[str, bytes], task: Task) -> Scorer:
        """The scorer. Raises Unavailable without XGBoost, Invalid for what is no booster of this task."""
        booster = _booster(files)
        found = _traits(booster)
        if found.reason:
            raise Invalid(found.reason, code="registry.no_scores", hint="Choose another objective.")
        check_task(found, task)
        ask, known = _asking(booster), _categories(booster)
        names = booster.feature_names or [field.name for field in found.inputs]

        def score(frame: pl.DataFrame) -> NDArray[np.float64]:
            return scores(ask(numbers(coded(ordered(frame, names), known))), task)

        return score if known else RowsScorer(score, lambda rows: scores(ask(rows), task))


def _categories(booster: Any) -> dict[int, pl.Series]:
    """The categories a booster was fitted on, by the place of their column; none for those fitted on codes."""
    if "c" not in (booster.feature_types or []):
        return {}
    held = booster.get_categories(export_to_arrow=True).to_arrow()
    return {place: pl.Series(values.to_pylist()) for place, (_, values) in enumerate(held) if values is not None}


def _asking(booster: Any) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """How a booster is asked for its scores: softmax for one that would answer labels, the best rounds for one stopped early."""
    import xgboost  # noqa: PLC0415 - loaded by now

    labels = _objective(booster) == "multi:softmax"
    stopped = booster.attr("best_iteration") if booster.attr("scikit_learn") else None
    rounds = (0, int(stopped) + 1 if stopped else 0)

    kinds = booster.feature_types
    options = {"output_margin": labels, "iteration_range": rounds, "validate_features": False}

    def ask(values: NDArray[np.float64]) -> NDArray[np.float64]:
        matrix = xgboost.DMatrix(values, missing=np.nan, feature_types=kinds, enable_categorical=True)
        found = np.asarray(booster.predict(matrix, **options), dtype=np.float64)
        if not labels:
            return found
        powers = np.exp(found - found.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    return ask


def _booster(files: Mapping[str, bytes]) -> Any:
    data = only_file(files, FILE, TEXT_FILE)
    try:
        import xgboost  # noqa: PLC0415 - optional
    except ImportError:
        raise missing_library("XGBoost", "xgboost") from None
    check_xgboost(data)
    try:
        booster = xgboost.Booster()
        booster.load_model(bytearray(data))
        booster.save_config()  # what it will answer is worked out here, and may be refused
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        raise unreadable("XGBoost cannot read the model", _reason(error)) from None
    return booster


def _reason(error: Exception) -> str:
    """XGBoost's message without the place in its sources."""
    return str(error).splitlines()[0].rpartition(": ")[2]


def _config(booster: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(booster.save_config())["learner"]
    return found


def _objective(booster: Any) -> str:
    return str(_config(booster)["objective"]["name"])


def _traits(booster: Any) -> Traits:
    config = _config(booster)
    objective, params = str(config["objective"]["name"]), config["learner_model_param"]
    classes, targets = int(params.get("num_class", 0)), int(params.get("num_target", 1))
    inputs = _inputs(booster)
    if objective in _NO_SCORES:
        return Traits(inputs=inputs, reason=f"A booster of {objective} {_NO_SCORES[objective]}.")
    if targets > 1:
        return Traits(inputs=inputs, reason=f"The booster predicts {targets} values at once, not one.")
    if objective == "binary:logistic":
        return Traits(task="binary", classes=(0, 1), inputs=inputs)
    if objective.startswith("multi:"):
        return Traits(task="multiclass", classes=tuple(range(classes)), inputs=inputs)
    return Traits(task="regression", inputs=inputs)


def _inputs(booster: Any) -> tuple[Field, ...]:
    names = booster.feature_names
    if not names:
        return columns_f(booster.num_features())
    kinds = {place: str(values.dtype) for place, values in _categories(booster).items()}
    return tuple(Field(name=name, dtype=kinds.get(place, "Float64"), nullable=True) for place, name in enumerate(names))
