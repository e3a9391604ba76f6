"""How well a fitted estimator does on rows it is given: the metrics everybody asks for first, and the tables behind the figures."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.client.autolog.tables import some_rows, spread

_PROBE, _SECOND_PROBE = 100, 1000
_LEAST_S = 0.25
_SHARE = 0.05
_TWO = 2
_MOST_CLASSES = 50


@dataclass
class Judged:
    """Metrics by name, and what can be drawn of a classifier."""

    metrics: dict[str, float] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    confusion: NDArray[Any] | None = None
    roc: tuple[NDArray[Any], NDArray[Any]] | None = None
    rows: int = 0


def judged(estimator: Any, table: Any, target: Any, weights: Any, *, rows: int, fit_s: float) -> Judged:
    """Metrics on at most ``rows`` rows, evenly spread, and on fewer where answering takes long.

    A binary classifier's precision, recall and f1 are those of its second class; with more classes they are weighted means.
    """
    from sklearn.base import is_classifier, is_regressor  # noqa: PLC0415 - loaded with the estimator

    sort = is_classifier, is_regressor
    if target is None or not any(is_sort(estimator) for is_sort in sort):
        return Judged()
    count = len(target) if not hasattr(target, "shape") else int(target.shape[0])
    places = spread(count, affordable(estimator, table, count, rows, fit_s))
    held = some_rows(table, places)
    truth = np.asarray(some_rows(target, places))
    truth = truth[:, 0] if truth.ndim == _TWO and truth.shape[1] == 1 else truth
    weight = None if weights is None else np.asarray(some_rows(weights, places))
    found = _of_classifier(estimator, held, truth, weight) if is_classifier(estimator) else _of_regressor(estimator, held, truth, weight)
    found.rows = len(places)
    return found


def affordable(estimator: Any, table: Any, count: int, most: int, fit_s: float) -> int:
    """How many rows the estimator answers within a quarter of a second, or a twentieth of its fit if that is longer; at least 100."""
    budget, most = max(_LEAST_S, _SHARE * fit_s), min(count, most)
    if most <= _PROBE:
        return most
    first = _seconds(estimator, table, _PROBE)
    if first * most / _PROBE <= budget or most <= _SECOND_PROBE:
        return most if first * most / _PROBE <= budget else _PROBE
    if first * _SECOND_PROBE / _PROBE > 4 * budget:
        return _PROBE
    second = _seconds(estimator, table, _SECOND_PROBE)
    slope = max((second - first) / (_SECOND_PROBE - _PROBE), 1e-9)
    return int(np.clip((budget - second) / slope, _SECOND_PROBE, most))


def _seconds(estimator: Any, table: Any, rows: int) -> float:
    head = some_rows(table, np.arange(rows))
    began = time.perf_counter()
    estimator.predict(head)
    return time.perf_counter() - began


def _of_regressor(estimator: Any, held: Any, truth: NDArray[Any], weight: Any) -> Judged:
    from sklearn import metrics as m  # noqa: PLC0415 - loaded with the estimator

    answer = np.asarray(estimator.predict(held))
    mse = float(m.mean_squared_error(truth, answer, sample_weight=weight))
    found = {"mae": float(m.mean_absolute_error(truth, answer, sample_weight=weight)), "mse": mse, "rmse": float(np.sqrt(mse))}
    if len(truth) >= _TWO:
        found["r2"] = float(m.r2_score(truth, answer, sample_weight=weight))
    return Judged(metrics=found)


def _of_classifier(estimator: Any, held: Any, truth: NDArray[Any], weight: Any) -> Judged:
    from sklearn import metrics as m  # noqa: PLC0415 - loaded with the estimator

    answer = np.asarray(estimator.predict(held))
    if truth.ndim > 1:
        return Judged(
            metrics={"accuracy": float(m.accuracy_score(truth, answer, sample_weight=weight))} if answer.ndim == truth.ndim else {}
        )
    answer = answer.reshape(-1)
    classes = np.asarray(getattr(estimator, "classes_", np.unique(truth)))
    binary = len(classes) == _TWO
    how: dict[str, Any] = {"average": "binary", "pos_label": classes[1]} if binary else {"average": "weighted"}
    found = {"accuracy": float(m.accuracy_score(truth, answer, sample_weight=weight))}
    values = m.precision_recall_fscore_support(truth, answer, sample_weight=weight, zero_division=0, **how)
    found |= dict(zip(("precision", "recall", "f1"), map(float, values[:3]), strict=True))
    result = Judged(metrics=found, classes=[str(item) for item in classes])
    if len(classes) <= _MOST_CLASSES:
        result.confusion = m.confusion_matrix(truth, answer, labels=classes)
    _by_rank(estimator, held, truth, weight, classes, result)
    return result


def _by_rank(estimator: Any, held: Any, truth: NDArray[Any], weight: Any, classes: NDArray[Any], result: Judged) -> None:
    """What needs probabilities, or at least an order of the rows."""
    from sklearn import metrics as m  # noqa: PLC0415 - loaded with the estimator

    chances = np.asarray(estimator.predict_proba(held)) if hasattr(estimator, "predict_proba") else None
    if chances is not None and chances.ndim == _TWO and chances.shape[1] == len(classes):
        result.metrics["log_loss"] = float(m.log_loss(truth, chances, sample_weight=weight, labels=classes))
    if len(np.unique(truth)) < len(classes):
        return  # a class is missing among the rows, so no area under its curve
    if len(classes) == _TWO:
        order = (
            chances[:, 1] if chances is not None else estimator.decision_function(held) if hasattr(estimator, "decision_function") else None
        )
        if order is not None:
            positive = truth == classes[1]
            result.metrics["roc_auc"] = float(m.roc_auc_score(positive, order, sample_weight=weight))
            falls, rises, _ = m.roc_curve(positive, order, sample_weight=weight)
            result.roc = (falls, rises)
    elif chances is not None and chances.ndim == _TWO and weight is None:
        result.metrics["roc_auc"] = float(m.roc_auc_score(truth, chances, multi_class="ovr", average="weighted", labels=classes))
