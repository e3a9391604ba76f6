"""XGBoost: ``train``, ``cv`` and the estimators, with a curve an iteration for each evaluation set."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rung.client.autolog.boosting import Crossing, Curves, Data, Training, curves_inside, log_best
from rung.client.autolog.family import AUTOLOGGERS, Hook
from rung.client.autolog.fits import Fit
from rung.client.autolog.guard import inside, observed, quietly
from rung.client.autolog.measuring import follow
from rung.client.autolog.options import options_of
from rung.client.autolog.patches import Original, Patches, bound
from rung.client.autolog.tables import described, name_of, spread

if TYPE_CHECKING:
    import polars as pl

LIBRARY = "xgboost"
_ESTIMATORS = ("XGBModel", "XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor")
_EXAMPLE_ROWS, _DESCRIBED_ROWS = 100, 10_000
_MOST_COLUMNS = 1000
_CROSSED = ("nfold", "stratified", "shuffle", "seed")


def _library(module: ModuleType, patches: Patches) -> None:
    patches.function(module, "train", training)
    patches.function(module, "cv", crossing)
    for part in (module.training, getattr(module, "sklearn", None)):
        for name in ("train", "cv"):
            if part is not None and name in vars(part):
                patches.put(part, name, vars(module)[name])
    for name in _ESTIMATORS:
        if hasattr(module, name):
            patches.method(getattr(module, name), "fit", fitting)


def fitting(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of an estimator's fit."""
    options = options_of(LIBRARY)
    if options is None or not args:
        return original(*args, **kwargs)

    def watch() -> Fit:
        follow(type(args[0]))
        return Fit(LIBRARY, options, original, args, kwargs, log_best)

    return observed(original, args, kwargs, watch)


def training(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of train: by the user, or by an estimator's fit."""
    options = options_of(LIBRARY)
    if options is None:
        return original(*args, **kwargs)
    if inside.get() is not None:
        with quietly("curves are not logged"):
            curves = curves_inside(LIBRARY)
            if curves is not None:
                _add(kwargs, curves)
        return original(*args, **kwargs)

    def watch() -> Training:
        given = bound(original, args, kwargs)
        watcher = Training(LIBRARY, options, _params(given), _data(given.get("dtrain"), name_of(given.get("dtrain"))))
        _add(kwargs, watcher.curves)
        return watcher

    return observed(original, args, kwargs, watch)


def crossing(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of cv."""
    options = options_of(LIBRARY)
    if options is None:
        return original(*args, **kwargs)

    def watch() -> Crossing:
        given = bound(original, args, kwargs)
        params: dict[str, Any] = _params(given) | {key: given[key] for key in _CROSSED if key in given}
        return Crossing(LIBRARY, options, params, _data(given.get("dtrain"), name_of(given.get("dtrain"))))

    return observed(original, args, kwargs, watch)


def _add(kwargs: dict[str, Any], curves: Curves) -> None:
    # First: XGBoost asks its callbacks until one says stop, and leaves out the rest.
    kwargs["callbacks"] = [_callback(curves), *(kwargs.get("callbacks") or ())]


def _callback(curves: Curves) -> Any:
    base: Any = sys.modules["xgboost.callback"]

    class LogCurves(base.TrainingCallback):  # type: ignore[misc]  # its base is known only where XGBoost is loaded
        """Logs the last value of every curve."""

        def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, dict[str, list[Any]]]) -> bool:
            with quietly("curves are not logged"):
                held = {f"{data}/{metric}": values[-1] for data, metrics in evals_log.items() for metric, values in metrics.items()}
                curves.log(epoch, {key: value[0] if isinstance(value, tuple) else value for key, value in held.items()})
            return False

    return LogCurves()


def _params(given: dict[str, Any]) -> dict[str, Any]:
    params = given.get("params") or {}
    found = {"num_boost_round": given.get("num_boost_round", 10), **(params if isinstance(params, dict) else dict(params))}
    if given.get("early_stopping_rounds") is not None:
        found["early_stopping_rounds"] = given["early_stopping_rounds"]
    return found


def _data(matrix: Any, called: str) -> Data:
    """Rows and description of a DMatrix; of one that cannot be cut (a quantized or an external one) only what it says of itself."""
    if type(matrix).__name__ != "DMatrix":
        return Data()
    rows, names = int(matrix.num_row()), list(matrix.feature_names or [f"f{place}" for place in range(matrix.num_col())])
    part = matrix.slice(spread(rows, _DESCRIBED_ROWS).tolist())
    label = part.get_label()
    told = described(part.get_data(), called or "dtrain", target=label if len(label) else None, rows=rows, names=names)
    return Data(_rows(part, names) if len(names) <= _MOST_COLUMNS else None, told)


def _rows(matrix: Any, names: list[str]) -> pl.DataFrame:
    """Some rows as numbers; what a DMatrix does not hold is missing, while a zero is held."""
    import polars as pl  # noqa: PLC0415 - half a second that `rung.autolog()` alone need not pay

    held = matrix.slice(list(range(min(int(matrix.num_row()), _EXAMPLE_ROWS)))).get_data().tocoo()
    table = np.full((held.shape[0], len(names)), np.nan)
    table[held.row, held.col] = held.data
    return pl.DataFrame({name: table[:, place] for place, name in enumerate(names)})


@AUTOLOGGERS.member(LIBRARY)
class XgBoost:
    """``train``, ``cv`` and the estimators of XGBoost, with a curve an iteration."""

    hooks: Mapping[str, Hook] = {"xgboost": _library}
    spellings: tuple[str, ...] = ()
