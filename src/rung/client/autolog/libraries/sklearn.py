"""scikit-learn: every estimator's outermost fit, searches with their candidates, and what is measured after a fit.

Estimators of other libraries and the user's own count too: whatever derives from ``BaseEstimator`` and can predict.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from rung.client.autolog import later, searches
from rung.client.autolog.family import AUTOLOGGERS, Autologger
from rung.client.autolog.fits import Fit, can_predict
from rung.client.autolog.guard import Nobody, inside, nested, observed, quietly
from rung.client.autolog.options import options_of
from rung.client.autolog.patches import Original, Patches, bound
from rung.client.autolog.tables import name_of

LIBRARY = "sklearn"
_FITS = ("fit", "fit_predict", "fit_transform")
_ANSWERS = ("predict", "predict_proba", "decision_function")
_ELSEWHERE = {"lightgbm", "xgboost"}
_CROSS = ("cross_validate", "cross_val_score", "cross_val_predict", "learning_curve", "validation_curve", "permutation_test_score")
_METRICS = {
    "accuracy_score": "accuracy", "balanced_accuracy_score": "balanced_accuracy", "average_precision_score": "average_precision",
    "brier_score_loss": "brier_score", "cohen_kappa_score": "cohen_kappa", "f1_score": "f1", "fbeta_score": "fbeta",
    "hamming_loss": "hamming_loss", "jaccard_score": "jaccard", "log_loss": "log_loss", "matthews_corrcoef": "matthews_corrcoef",
    "precision_score": "precision", "recall_score": "recall", "roc_auc_score": "roc_auc", "top_k_accuracy_score": "top_k_accuracy",
    "d2_absolute_error_score": "d2_absolute_error", "explained_variance_score": "explained_variance", "max_error": "max_error",
    "mean_absolute_error": "mae", "mean_absolute_percentage_error": "mape", "mean_gamma_deviance": "gamma_deviance",
    "mean_pinball_loss": "pinball_loss", "mean_poisson_deviance": "poisson_deviance", "mean_squared_error": "mse",
    "mean_squared_log_error": "msle", "median_absolute_error": "median_absolute_error", "r2_score": "r2",
    "root_mean_squared_error": "rmse", "root_mean_squared_log_error": "rmsle",
}  # fmt: skip
_patched: list[Patches] = []


def _estimators(module: ModuleType, patches: Patches) -> None:
    """Watch the estimators there are, and each one defined from now on."""
    base = module.BaseEstimator
    _patched[:] = [patches]

    def init_subclass(cls: type, /, **kwargs: Any) -> None:
        super(base, cls).__init_subclass__(**kwargs)
        with quietly(f"{cls.__name__} cannot be watched"):
            if options_of(LIBRARY) is not None:
                _watch_class(cls)

    patches.put(base, "__init_subclass__", classmethod(init_subclass))
    waiting = list(base.__subclasses__())
    seen = set()
    while waiting:
        cls = waiting.pop()
        if cls not in seen:
            seen.add(cls)
            _watch_class(cls)
            waiting += cls.__subclasses__()


def _watch_class(cls: type) -> None:
    if cls.__module__.partition(".")[0] in _ELSEWHERE:
        return
    for name in _FITS:
        if name in vars(cls):
            _patched[0].method(cls, name, fitting)


def fitting(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of fit, fit_predict or fit_transform."""
    options = options_of(LIBRARY)
    if options is None or not args:
        return original(*args, **kwargs)

    def watch() -> Fit | None:
        if not can_predict(args[0]) or not hasattr(args[0], "get_params"):
            return None
        watch_answers(type(args[0]), _patched[0])
        extra = searches.log_candidates if hasattr(args[0], "cv") and hasattr(args[0], "refit") else None
        return Fit(LIBRARY, options, original, args, kwargs, extra)

    return observed(original, args, kwargs, watch)


def watch_answers(cls: type, patches: Patches) -> None:
    """Follow the answers and scores of a class of which a fit is logged."""
    for name, handler in (*((name, answering) for name in _ANSWERS), ("score", scoring)):
        owner = next((item for item in cls.__mro__ if name in vars(item)), None)
        if owner is not None and not patches.holds(owner, name):
            patches.method(owner, name, handler)


def answering(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of predict and its like: the answer is remembered until a metric of it is computed."""
    answer = original(*args, **kwargs)
    if inside.get() is None and args:
        found = later.fitted(args[0])
        if found is not None:
            with quietly("an answer could not be followed"):
                later.answered(answer, found, _data(found, args[1] if len(args) > 1 else kwargs.get("X")))
    return answer


def scoring(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of score on a fitted estimator."""
    found = later.fitted(args[0]) if args and inside.get() is None else None
    if found is None:
        return original(*args, **kwargs)
    token = inside.set(Nobody())
    try:
        value = original(*args, **kwargs)
        with quietly("a score could not be logged"):
            data = _data(found, args[1] if len(args) > 1 else kwargs.get("X"))
            found.log(f"{data}_{_score_name(args[0])}", float(value))
        return value
    finally:
        inside.reset(token)


def measuring(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call of one of scikit-learn's metrics."""
    if options_of(LIBRARY) is None or inside.get() is not None:
        return original(*args, **kwargs)
    token = inside.set(Nobody())
    try:
        value = original(*args, **kwargs)
        with quietly("a metric could not be logged"):
            _measured(original.__name__, value, bound(original, args, kwargs), args)
        return value
    finally:
        inside.reset(token)


def _measured(function: str, value: Any, given: dict[str, Any], args: tuple[Any, ...]) -> None:
    if not hasattr(value, "__float__") or getattr(value, "shape", ()) != ():
        return
    values = list(given.values())
    truth = given.get("y_true", values[0] if values else None)
    answer = next(
        (given[name] for name in ("y_pred", "y_score", "y_prob", "y_proba") if name in given), values[1] if len(values) > 1 else None
    )
    found = later.origin(answer)
    name = _METRICS[function]
    if found is not None:
        fitted, data = found
        fitted.log(f"{data}_{name}", float(value))
        return
    fitted_last = later.last_fitted()
    if fitted_last is not None:
        fitted_last.log(f"{later.data_name(name_of(truth))}_{name}", float(value))


def _data(found: later.Fitted, table: Any) -> str:
    if table is not None and found.table() is table:
        return "training"
    return later.data_name(name_of(table))


def _score_name(estimator: Any) -> str:
    from sklearn.base import is_classifier, is_regressor  # noqa: PLC0415 - loaded with the estimator

    if getattr(estimator, "scoring", None) is not None:
        return "score"
    return "accuracy" if is_classifier(estimator) else "r2" if is_regressor(estimator) else "score"


def _metrics(module: ModuleType, patches: Patches) -> None:
    """Watch the metrics, also where they are defined, so that they can still be pickled by name."""
    for name in _METRICS:
        original = getattr(module, name, None)
        if original is None:
            continue
        patches.function(module, name, measuring)
        home = sys.modules.get(original.__module__)
        if home is not None and vars(home).get(name) is original:
            patches.put(home, name, vars(module)[name])


def _validation(module: ModuleType, patches: Patches) -> None:
    """Fits on the folds of a cross-validation are nested in it."""
    for name in _CROSS:
        original = getattr(module, name, None)
        if original is None:
            continue
        patches.function(module, name, crossing)
        home = sys.modules.get(original.__module__)
        if home is not None and vars(home).get(name) is original:
            patches.put(home, name, vars(module)[name])


def crossing(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call that fits many clones."""
    return original(*args, **kwargs) if options_of(LIBRARY) is None else nested(original, args, kwargs)


def _parallel(module: ModuleType, patches: Patches) -> None:
    """Threads that a fit starts are inside of it."""
    worker = getattr(module, "_FuncWrapper", None)
    if worker is not None:
        patches.method(worker, "__init__", _handed_over)
        patches.method(worker, "__call__", _in_thread)


def _handed_over(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    answer = original(*args, **kwargs)
    if inside.get() is not None:
        args[0].rung_nested = True
    return answer


def _in_thread(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not getattr(args[0], "rung_nested", False) or inside.get() is not None:
        return original(*args, **kwargs)
    token = inside.set(Nobody())
    try:
        return original(*args, **kwargs)
    finally:
        inside.reset(token)


AUTOLOGGERS.add(
    LIBRARY,
    Autologger(
        hooks={
            "sklearn.base": _estimators,
            "sklearn.metrics": _metrics,
            "sklearn.model_selection": _validation,
            "sklearn.utils.parallel": _parallel,
        },
        spellings=("scikit-learn", "scikit_learn"),
    ),
)
