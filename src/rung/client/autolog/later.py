"""What is measured on a fitted estimator afterwards: ``model.score`` and the functions of ``sklearn.metrics``.

Each goes to the run of the fit, also after its end, named by the data: ``X_test`` gives ``test_accuracy``.
"""

from __future__ import annotations

import re
import weakref
from dataclasses import dataclass
from typing import Any

from rung.client.active import ActiveRun
from rung.client.autolog.sessions import log_later

_IDLE = {"x", "y", "df", "data", "features", "true", "labels", "label", "target", "targets", "inputs", "frame", "pred", "preds", "proba"}


@dataclass
class Fitted:
    """Where an estimator's later metrics go, and what it was fitted on."""

    run: ActiveRun
    label: str
    model: str | None
    table: Any
    title: str

    def __post_init__(self) -> None:
        try:
            self.table = weakref.ref(self.table)
        except TypeError:
            self.table = _none
        self.times: dict[str, int] = {}

    def log(self, name: str, value: float) -> None:
        """Log a metric; the step counts how often it was measured."""
        step = self.times[name] = self.times.get(name, -1) + 1
        log_later(self.run, {f"{self.label}.{name}" if self.label else name: value}, step, self.model)


_fitted: dict[int, tuple[Any, Fitted]] = {}
_answers: dict[int, tuple[Any, Fitted, str]] = {}
_latest: dict[str, Fitted] = {}


def remember(estimator: Any, fitted: Fitted) -> None:
    """Log what is measured on this estimator from now on to the run of its fit."""
    for item in (estimator, getattr(estimator, "best_estimator_", None)):
        _put(_fitted, item, fitted)
    _latest["one"] = fitted


def fitted(estimator: Any) -> Fitted | None:
    """Where an estimator's metrics go, None when no fit of it was logged."""
    held = _fitted.get(id(estimator))
    return held[1] if held is not None and held[0]() is estimator else None


def answered(answer: Any, found: Fitted, data: str) -> None:
    """Remember that an answer came from this estimator, for the metric that will be computed of it."""
    if id(answer) not in _answers:
        _put(_answers, answer, found, data)


def origin(answer: Any) -> tuple[Fitted, str] | None:
    """Which estimator gave an answer, or a column of one, and on what data."""
    for item in (answer, getattr(answer, "base", None)):
        held = _answers.get(id(item)) if item is not None else None
        if held is not None and held[0]() is item:
            return held[1], held[2]
    return None


def data_name(variable: str) -> str:
    """What data is called, by the variable that holds it: ``X_test`` is test, ``x`` nothing special."""
    parts = [part for part in re.split(r"[_\W]+", variable) if part and part.lower() not in _IDLE]
    return "_".join(parts).lower() or "eval"


def last_fitted() -> Fitted | None:
    """The last fit that was logged to a run that is still open; None when it has ended, for then nobody says which was meant."""
    found = _latest.get("one")
    return found if found is not None and not found.run.closed else None


def forget() -> None:
    """Log nothing more of what is fitted by now."""
    _fitted.clear()
    _answers.clear()
    _latest.clear()


def _put(table: dict[int, Any], item: Any, *what: Any) -> None:
    if item is None:
        return
    key = id(item)
    try:
        held = weakref.ref(item, lambda _: table.pop(key, None))
    except TypeError:
        return  # a list: it cannot be told apart from one that comes later at the same place
    table[key] = (held, *what)


def _none() -> None:
    return None
