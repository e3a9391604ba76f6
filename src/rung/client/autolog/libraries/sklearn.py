"""scikit-learn: every estimator's outermost fit, searches with their candidates, and what is measured after a fit.

Estimators of other libraries and the user's own count too: whatever derives from ``BaseEstimator`` and can predict.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from rung.client.autolog import searches
from rung.client.autolog.family import AUTOLOGGERS, Hook
from rung.client.autolog.fits import Fit, can_predict
from rung.client.autolog.guard import Nobody, inside, nested, observed, quietly
from rung.client.autolog.measuring import MEASURES, follow, measuring
from rung.client.autolog.options import options_of
from rung.client.autolog.patches import Original, Patches

LIBRARY = "sklearn"
_FITS = ("fit", "fit_predict", "fit_transform")
_ELSEWHERE = {"lightgbm", "xgboost"}
_CROSS = ("cross_validate", "cross_val_score", "cross_val_predict", "learning_curve", "validation_curve", "permutation_test_score")
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
        follow(type(args[0]))
        extra = searches.log_candidates if hasattr(args[0], "cv") and hasattr(args[0], "refit") else None
        return Fit(LIBRARY, options, original, args, kwargs, extra)

    return observed(original, args, kwargs, watch)


def _metrics(module: ModuleType, patches: Patches) -> None:
    """Watch the metrics, also where they are defined, so that they can still be pickled by name."""
    for name in MEASURES:
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


@AUTOLOGGERS.member(LIBRARY)
class ScikitLearn:
    """Fits, searches, scores and metrics of scikit-learn, and of whatever derives from its ``BaseEstimator``."""

    hooks: Mapping[str, Hook] = {
        "sklearn.base": _estimators,
        "sklearn.metrics": _metrics,
        "sklearn.model_selection": _validation,
        "sklearn.utils.parallel": _parallel,
    }
    spellings: tuple[str, ...] = ("scikit-learn", "scikit_learn")
