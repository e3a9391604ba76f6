"""Following what is computed with a fitted estimator: its answers, its score, and scikit-learn's metrics of its answers."""

from __future__ import annotations

from typing import Any

from rung.client.autolog import later
from rung.client.autolog.guard import Nobody, inside, quietly
from rung.client.autolog.patches import Original, Patches, bound
from rung.client.autolog.tables import name_of

_ANSWERS = ("predict", "predict_proba", "decision_function")
MEASURES = {
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
_following = Patches()


def follow(cls: type) -> None:
    """Follow the answers and scores of a class of which a fit is logged."""
    for name, handler in (*((name, answering) for name in _ANSWERS), ("score", scoring)):
        owner = next((item for item in cls.__mro__ if name in vars(item)), None)
        if owner is not None and not _following.holds(owner, name):
            _following.method(owner, name, handler)


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
    if inside.get() is not None:
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
    name = MEASURES[function]
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


def unfollow() -> None:
    """Follow nothing more."""
    _following.undo()
    later.forget()
