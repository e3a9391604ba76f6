"""What a gate is: a rule with params of its own type that answers results for one case.

A case is a candidate, the champion beside it if there is one, both scored on the same rows, and a way to try the
loaded candidate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from rung.core.families import Family
from rung.core.records import Record, decoded
from rung.core.references import Task
from rung.evaluation.bootstrap import Difference
from rung.evaluation.records import Evaluation
from rung.evaluation.rows import ScoredRows, compare
from rung.registry.records import GateResult, GateRule, ModelVersion

P = TypeVar("P", bound=Record)
DEFAULT_METRIC: dict[Task, str] = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "mae"}


@dataclass(frozen=True)
class Contender:
    """A version with its evaluation and the scored rows behind it."""

    version: ModelVersion
    evaluation: Evaluation
    rows: ScoredRows

    @property
    def threshold(self) -> float:
        """The score from which it decides for the positive class."""
        return self.version.threshold if self.version.threshold is not None else 0.5


@dataclass(frozen=True)
class Trial:
    """What trying the loaded candidate showed."""

    rows: int
    faults: tuple[str, ...]
    load_s: float
    single_row_ms: float


@dataclass(frozen=True)
class GateCase:
    """What a gate judges."""

    candidate: Contender
    champion: Contender | None
    trial: Callable[[], Trial]

    def difference(self, metric: str, mask: np.ndarray, *, resamples: int, confidence: float, seed: int) -> Difference | None:
        """Candidate against champion on some rows, None without a champion."""
        if self.champion is None:
            return None
        return compare(
            self.candidate.version.known_task, metric, self.candidate.rows, self.champion.rows, mask,
            thresholds=(self.candidate.threshold, self.champion.threshold),
            resamples=resamples, confidence=confidence, seed=seed,
        )  # fmt: skip

    def metric(self, named: str) -> str:
        """The metric that was named, or the one a task is judged by."""
        return named or DEFAULT_METRIC[self.candidate.version.known_task]


@dataclass(frozen=True)
class Gate:
    """A named gate and the type of its params."""

    name: str
    params: type[Record]
    check: Callable[[GateCase, Any], list[GateResult]]


GATES: Family[Gate] = Family("gates", "rung.registry.gates")


def gate(name: str, params: type[P]) -> Callable[[Callable[[GateCase, P], list[GateResult]]], Callable[[GateCase, P], list[GateResult]]]:
    """Enter a function as a gate."""

    def register(check: Callable[[GateCase, P], list[GateResult]]) -> Callable[[GateCase, P], list[GateResult]]:
        GATES.add(name, Gate(name, params, check))
        return check

    return register


def check_rules(rules: tuple[GateRule, ...]) -> None:
    """Raise NotFound for a gate that does not exist, Invalid for params that it does not take."""
    for rule in rules:
        decoded(rule.params, GATES.get(rule.gate).params)


def judged(rule: GateRule, case: GateCase) -> list[GateResult]:
    """What a rule's gate finds."""
    held = GATES.get(rule.gate)
    results = held.check(case, decoded(rule.params, held.params))
    return [_of(result, rule) for result in results]


def _of(result: GateResult, rule: GateRule) -> GateResult:
    return GateResult(
        **{**{name: getattr(result, name) for name in result.__struct_fields__}, "gate": rule.gate, "blocking": rule.blocking}
    )


def result(reason: str, *, passed: bool, **found: Any) -> GateResult:
    """A result; which gate and whether it blocks is entered by the rule. Bounds that are not finite are left out."""
    numbers = {name: value for name, value in found.items() if not isinstance(value, float) or np.isfinite(value)}
    return GateResult(gate="gate", passed=passed, blocking=True, reason=reason, **numbers)
