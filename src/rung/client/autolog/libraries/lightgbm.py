"""LightGBM: ``train``, ``cv`` and the estimators, with a curve an iteration for each evaluation set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from rung.client.autolog.boosting import Crossing, Curves, Data, Training, curves_inside, log_best
from rung.client.autolog.family import AUTOLOGGERS, Hook
from rung.client.autolog.fits import Fit
from rung.client.autolog.guard import inside, observed, quietly
from rung.client.autolog.measuring import follow
from rung.client.autolog.options import options_of
from rung.client.autolog.patches import Original, Patches, bound
from rung.client.autolog.tables import columns, described, frame_of, height, name_of

LIBRARY = "lightgbm"
_ESTIMATORS = ("LGBMModel", "LGBMClassifier", "LGBMRegressor", "LGBMRanker")
_BEFORE_STOPPING = 25  # early stopping runs at 30 and ends the iteration by an exception
_CALLBACKS_PLACE = 8
_EXAMPLE_ROWS = 100
_CROSSED = ("nfold", "stratified", "shuffle", "seed")


def _library(module: ModuleType, patches: Patches) -> None:
    patches.function(module, "train", training)
    patches.function(module, "cv", crossing)
    for part in (module.engine, module.sklearn):
        for name in ("train", "cv"):
            if name in vars(part):
                patches.put(part, name, vars(module)[name])
    for name in _ESTIMATORS:
        if hasattr(module.sklearn, name):
            patches.method(getattr(module.sklearn, name), "fit", fitting)


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
                _add(args, kwargs, _callback(curves))
        return original(*args, **kwargs)

    def watch() -> Training:
        given = bound(original, args, kwargs)
        watcher = Training(LIBRARY, options, _params(given), _data(given.get("train_set"), name_of(given.get("train_set"))))
        _add(args, kwargs, _callback(watcher.curves))
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
        return Crossing(LIBRARY, options, params, _data(given.get("train_set"), name_of(given.get("train_set"))))

    return observed(original, args, kwargs, watch)


def _callback(curves: Curves) -> Callable[[Any], None]:
    def log(env: Any) -> None:
        with quietly("curves are not logged"):
            curves.log(env.iteration, {f"{item[0]}/{item[1]}": item[2] for item in env.evaluation_result_list or ()})

    log.order = _BEFORE_STOPPING  # type: ignore[attr-defined]  # how LightGBM sorts callbacks
    log.before_iteration = False  # type: ignore[attr-defined]  # see above
    return log


def _add(args: tuple[Any, ...], kwargs: dict[str, Any], callback: Any) -> None:
    if len(args) <= _CALLBACKS_PLACE:
        kwargs["callbacks"] = [*(kwargs.get("callbacks") or ()), callback]


def _params(given: dict[str, Any]) -> dict[str, Any]:
    found = {"num_boost_round": given.get("num_boost_round", 100), **dict(given.get("params") or {})}
    for item in given.get("callbacks") or ():
        if hasattr(item, "stopping_rounds"):
            found["early_stopping_rounds"] = item.stopping_rounds
    return found


def _data(dataset: Any, called: str) -> Data:
    """Rows and description of a Dataset; those of one that was built and let go of its rows are gone."""
    table = getattr(dataset, "data", None)
    if table is None or height(table) is None:
        return Data()
    label = getattr(dataset, "label", None)
    names = getattr(dataset, "feature_name", None)
    names = list(names) if isinstance(names, (list, tuple)) else columns(table)
    example = frame_of(table, _EXAMPLE_ROWS, names or [f"Column_{place}" for place in range(table.shape[1])])
    return Data(example, described(table, called or "train_set", target=label, names=names))


@AUTOLOGGERS.member(LIBRARY)
class LightGbm:
    """``train``, ``cv`` and the estimators of LightGBM, with a curve an iteration."""

    hooks: Mapping[str, Hook] = {"lightgbm": _library}
    spellings: tuple[str, ...] = ()
