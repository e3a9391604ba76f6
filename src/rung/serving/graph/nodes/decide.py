"""A decision: from a score to an action, by a threshold or by what each action costs under each truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rung.core.records import Key, Line, Record
from rung.serving.graph.expressions import Column, Expression
from rung.serving.graph.family import GRAPH_NODES, Building, Plain
from rung.serving.graph.flow import Flow, Shape
from rung.serving.graph.nodes.transform import reader
from rung.serving.graph.running import Run
from rung.serving.inference import Floats

ACTION = "action"


class Rule(Record):
    """An action for rows that meet a condition in the language of columns."""

    when: Line
    then: Key


class DecideSettings(Record):
    """One of three: ``threshold`` with two ``actions`` (below, from there on); ``rules`` in order with ``otherwise``; or ``money``.

    ``money`` is what each action brings when the row is negative and when it is positive (costs below 0): that with the
    most expected money is taken. ``value_matrix`` says which value matrix the money is from; it is told, not read.
    """

    threshold: float | None = None
    actions: tuple[Key, ...] = ()
    rules: tuple[Rule, ...] = ()
    otherwise: Key | None = None
    money: dict[Key, tuple[float, float]] = {}
    value_matrix: Line = ""
    column: Key = ACTION


@dataclass(frozen=True, slots=True)
class ByThreshold:
    """Takes the second action from a score on."""

    source: str
    column: str
    threshold: float
    actions: tuple[str, ...]
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows with their action."""
        flow = run.value(self.source)
        over = np.asarray(flow.column("score") >= self.threshold)
        chosen = np.where(over, self.actions[1], self.actions[0]).astype(np.object_)
        return shown(flow, {self.column: chosen})


@dataclass(frozen=True, slots=True)
class ByRules:
    """Takes the action of the first rule that a row meets."""

    source: str
    inputs: tuple[str, ...]
    column: str
    rules: tuple[tuple[Expression, str], ...]
    otherwise: str
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows with their action."""
        flow = run.value(self.source)
        read: Column = reader(run, flow, self.inputs)
        chosen = np.full(flow.height, self.otherwise, dtype=np.object_)
        for condition, action in reversed(self.rules):
            chosen[condition.values(read, flow.height)] = action
        return shown(flow, {self.column: chosen})


@dataclass(frozen=True, slots=True)
class ByMoney:
    """Takes the action that is expected to bring most."""

    source: str
    column: str
    actions: tuple[str, ...]
    money: Floats
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows with their action, and the money it is expected to bring."""
        flow = run.value(self.source)
        score = flow.column("score")
        expected = np.stack([1.0 - score, score], axis=1) @ self.money.T
        best = expected.argmax(axis=1)
        chosen = np.array(self.actions, dtype=np.object_)[best]
        return shown(flow, {self.column: chosen, f"{self.column}_value": expected[np.arange(flow.height), best]})


def shown(flow: Flow, columns: dict[str, np.ndarray]) -> Flow:
    """The flow with columns that the answer shows, too."""
    return flow.having(added={**flow.added, **columns}, outputs={**flow.outputs, **columns})


@GRAPH_NODES.member("decide")
class DecideKind(Plain):
    """A score becomes an action: ``threshold = 0.3``, ``actions = ["accept", "review"]``."""

    settings = DecideSettings

    @staticmethod
    def made(settings: DecideSettings, building: Building) -> ByThreshold | ByRules | ByMoney:
        """The node, if exactly one way to decide is given and the score fits it."""
        ways = [settings.threshold is not None, bool(settings.rules), bool(settings.money)]
        if sum(ways) != 1:
            raise building.wrong("it needs one of `threshold`, `rules` and `money`", "Say how an action is chosen, in one way.")
        if settings.rules:
            return _by_rules(settings, building)
        source = building.only_one()
        if settings.threshold is not None:
            if len(settings.actions) != 2:  # noqa: PLR2004 - below and above
                raise building.wrong(f"it has {len(settings.actions)} actions", "Name two: below the threshold, and from it on.")
            if building.shape.task not in {"binary", "regression"}:
                raise building.wrong("a threshold needs one score a row", "Put a binary or regression model before it, or use rules.")
            return ByThreshold(source, settings.column, settings.threshold, settings.actions, _with(building, settings, "text"))
        if building.shape.task != "binary":
            raise building.wrong("expected money needs a probability", "Put a binary model before it.")
        money = np.array(list(settings.money.values()), dtype=np.float64)
        shape = _with(building, settings, "text")
        value = f"{settings.column}_value"
        shape = replace(shape, kinds={**shape.kinds, value: "number"}, outputs={**shape.outputs, value: "number"})
        return ByMoney(source, settings.column, tuple(settings.money), money, shape)


def _by_rules(settings: DecideSettings, building: Building) -> ByRules:
    if settings.otherwise is None:
        raise building.wrong("its rules may leave rows without an action", "Say `otherwise`.")
    rules = tuple((building.expression(rule.when, "truth"), rule.then) for rule in settings.rules)
    return ByRules(building.inputs[0], building.inputs, settings.column, rules, settings.otherwise, _with(building, settings, "text"))


def _with(building: Building, settings: DecideSettings, kind: str) -> Shape:
    shape = building.shape
    return replace(shape, kinds={**shape.kinds, settings.column: kind}, outputs={**shape.outputs, settings.column: kind})  # type: ignore[dict-item]  # one of the kinds
