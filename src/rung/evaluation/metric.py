"""What a metric is: a function of labels and scores that, given row weights, answers its value.

Weights make one definition serve twice: ones give the score, a bootstrap's multinomial counts give its resamples,
many at once. An undefined value is NaN. Labels are class numbers (0, 1, …) or, in a regression, the values
themselves; scores are P(positive) of shape (n,), P(class) of shape (n, k), or the predicted values of shape (n,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.families import Family
from rung.core.references import Task

Floats = NDArray[np.float64]
Weighing = Callable[[Floats], Floats]  # weights of shape (b, n) -> values of shape (b,)
Bind = Callable[[Floats, Floats, float], Weighing]  # labels, scores, threshold


@dataclass(frozen=True)
class Metric:
    """A named metric and the tasks it is defined for."""

    name: str
    tasks: tuple[Task, ...]
    greater_is_better: bool
    bind: Bind

    def score(self, labels: Floats, scores: Floats, threshold: float = 0.5) -> float:
        """The value over all rows, NaN where they do not define it."""
        return float(self.bind(labels, scores, threshold)(np.ones((1, len(labels))))[0]) if len(labels) else float("nan")


METRICS: Family[Metric] = Family("metrics", "rung.evaluation.metrics")


def metric(name: str, *tasks: Task, greater_is_better: bool = True) -> Callable[[Bind], Bind]:
    """Enter a binding function as a metric."""

    def register(bind: Bind) -> Bind:
        METRICS.add(name, Metric(name, tasks, greater_is_better, bind))
        return bind

    return register


def metrics_of(task: Task) -> list[Metric]:
    """Metrics defined for a task, by name."""
    return [item for _, item in METRICS.items() if task in item.tasks]


def metric_for(name: str, task: Task) -> Metric:
    """A metric by name. Raises NotFound; Invalid when the task does not define it."""
    found = METRICS.get(name)
    if task not in found.tasks:
        known = ", ".join(item.name for item in metrics_of(task))
        raise Invalid(f"Metric {name!r} is not defined for a {task} model.", code="evaluation.metric_of_other_task", hint=f"Use {known}.")
    return found


def all_scores(task: Task, labels: Floats, scores: Floats, threshold: float = 0.5) -> dict[str, float]:
    """Every metric of the task that the rows define."""
    found = {item.name: item.score(labels, scores, threshold) for item in metrics_of(task)}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def ratio(top: Floats, bottom: Floats) -> Floats:
    """Quotients, NaN where the divisor is 0."""
    return np.divide(top, bottom, out=np.full_like(np.asarray(top, dtype=np.float64), np.nan), where=bottom > 0)


def mean_of(values: Floats) -> Weighing:
    """The weighted mean of one number a row."""
    return lambda weights: ratio(weights @ values, weights.sum(axis=1))
