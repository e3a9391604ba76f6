"""A switch: each row takes the first branch whose condition it meets, by its columns or by a model's answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from rung.core.records import Line, Record
from rung.serving.graph.expressions import Column, Expression
from rung.serving.graph.family import GRAPH_NODES, Building, Plain
from rung.serving.graph.flow import Bools, Flow, Shape
from rung.serving.graph.functions import Kind, Values, shaped_nothing
from rung.serving.graph.nodes.transform import reader
from rung.serving.graph.running import Run


class Case(Record):
    """A condition in the language of columns, and the node that answers rows which meet it."""

    when: Line
    then: Line


class SwitchSettings(Record):
    """Cases in order, and who answers rows that meet none; ``flag`` says on the answer which branch was taken."""

    cases: tuple[Case, ...]
    otherwise: Line
    flag: bool = False


@dataclass(frozen=True, slots=True)
class Switch:
    """Asks each branch for its own rows only."""

    name: str
    source: str
    inputs: tuple[str, ...]
    cases: tuple[tuple[Expression, str], ...]
    otherwise: str
    flag: bool
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows as their branches answer them."""
        flow = run.value(self.source)
        read: Column = reader(run, flow, self.inputs)
        left = np.ones(flow.height, dtype=np.bool_)
        taken: list[tuple[Bools, str]] = []
        for condition, branch in self.cases:
            mask = left & condition.values(read, flow.height)
            taken.append((mask, branch))
            left = left & ~mask
        taken.append((left, self.otherwise))
        parts = [(mask, branch) for mask, branch in taken if mask.any()]
        if self.flag:
            for mask, branch in parts:
                run.flag(f"{self.name}:{branch}", mask)
        if len(parts) == 1:
            return run.value(parts[0][1])
        return together(flow, [(mask, run.part(mask).value(branch)) for mask, branch in parts], self.shape)


@GRAPH_NODES.member("switch")
class SwitchKind(Plain):
    """Branches by condition: ``cases = [{when = "amount > 1000", then = "big"}]``, ``otherwise = "small"``."""

    settings = SwitchSettings

    @staticmethod
    def refers(settings: SwitchSettings) -> tuple[str, ...]:
        """Its branches."""
        return tuple(dict.fromkeys([*(case.then for case in settings.cases), settings.otherwise]))

    @staticmethod
    def made(settings: SwitchSettings, building: Building) -> Switch:
        """The node, if its conditions are truths and its branches give the same kind of score."""
        cases = tuple((building.expression(case.when, "truth"), case.then) for case in settings.cases)
        shape = common_shape(building, SwitchKind.refers(settings))
        return Switch(building.node.name, building.inputs[0], building.inputs, cases, settings.otherwise, settings.flag, shape)


def common_shape(building: Building, branches: tuple[str, ...]) -> Shape:
    """What rows have whichever branch answers them: the same score, and the columns and outputs all of them have. Raises Invalid."""
    shapes = [building.shapes[name] for name in branches]
    first = shapes[0]
    for name, shape in zip(branches, shapes, strict=True):
        if (shape.task, shape.classes) != (first.task, first.classes):
            raise building.wrong(
                f"its branches answer different things: {branches[0]!r} {_told(first)}, {name!r} {_told(shape)}",
                "Turn one of them into the other's kind with a transform: score = …",
            )
    return replace(first, kinds=_shared([s.kinds for s in shapes]), outputs=_shared([s.outputs for s in shapes]))


def together(base: Flow, parts: list[tuple[Bools, Flow]], shape: Shape) -> Flow:
    """Flows of parts of the rows as one flow of all of them."""
    first = parts[0][1]
    score = None
    if first.score is not None:
        score = np.empty((base.height, *first.score.shape[1:]), dtype=np.float64)
        for mask, flow in parts:
            score[mask] = flow.score
    names = [name for name in shape.kinds if any(name in flow.added for _, flow in parts)]
    added = {name: _joined(base.height, shape.kinds[name], [(mask, flow.column(name)) for mask, flow in parts]) for name in names}
    outputs = {
        name: _joined(base.height, kind, [(mask, flow.outputs[name]) for mask, flow in parts]) for name, kind in shape.outputs.items()
    }
    return base.having(added=added, score=score, classes=first.classes, outputs=outputs)


def _joined(height: int, kind: Kind, parts: list[tuple[Bools, Values]]) -> Values:
    found = shaped_nothing(kind, height)
    for mask, values in parts:
        found[mask] = values
    return found


def _shared(maps: list[Mapping[str, Kind]]) -> dict[str, Kind]:
    return {name: kind for name, kind in maps[0].items() if all(other.get(name) == kind for other in maps[1:])}


def _told(shape: Shape) -> str:
    return (
        "no score"
        if shape.task is None
        else f"a {shape.task} score of {len(shape.classes)} classes"
        if shape.classes
        else f"a {shape.task} score"
    )
