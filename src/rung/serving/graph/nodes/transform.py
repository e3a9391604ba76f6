"""Columns worked out from others, before or after a model, in the language of columns."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rung.core.records import Record
from rung.core.references import Task
from rung.serving.graph.expressions import Column, Expression
from rung.serving.graph.family import GRAPH_NODES, Building, Plain
from rung.serving.graph.flow import Flow, Shape
from rung.serving.graph.functions import Values
from rung.serving.graph.running import Run


class TransformSettings(Record):
    """``columns`` by name, in order, so that later ones may read earlier ones; ``score`` replaces the score; ``answer`` names what is shown."""

    columns: dict[str, str] = {}
    score: str = ""
    answer: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Transform:
    """Works its expressions out, one after the other."""

    source: str
    inputs: tuple[str, ...]
    columns: tuple[tuple[str, Expression], ...]
    score: Expression | None
    answer: tuple[str, ...]
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows with the new columns."""
        flow = run.value(self.source)
        flow = flow.having(added=dict(flow.added))
        read = reader(run, flow, self.inputs)
        for name, expression in self.columns:
            flow.added[name] = expression.values(read, flow.height)
        if self.score is not None:
            flow.score, flow.classes = self.score.values(read, flow.height), ()
        if self.answer:
            flow.outputs = {**flow.outputs, **{name: flow.column(name) for name in self.answer}}
        return flow


@GRAPH_NODES.member("transform")
class TransformKind(Plain):
    """Columns from columns: ``columns = {speed = "distance / air_time"}``."""

    settings = TransformSettings

    @staticmethod
    def made(settings: TransformSettings, building: Building) -> Transform:
        """The node, its expressions checked against the columns at hand."""
        shape = building.shape
        columns = []
        for name, text in settings.columns.items():
            expression = building.expression(text, over=shape)
            columns.append((name, expression))
            shape = replace(shape, kinds={**shape.kinds, name: expression.kind})
        score = building.expression(settings.score, "number", shape) if settings.score else None
        if score is not None:
            task: Task = "binary" if shape.task == "binary" else "regression"
            shape = replace(shape, task=task, classes=shape.classes if task == "binary" else ())
        unknown = [name for name in settings.answer if name not in shape.kinds]
        if unknown:
            raise building.wrong(f"it answers {unknown[0]!r}, which is no column", f"Known: {', '.join(shape.kinds)}.")
        shape = replace(shape, outputs={**shape.outputs, **{name: shape.kinds[name] for name in settings.answer}})
        return Transform(building.inputs[0], building.inputs, tuple(columns), score, settings.answer, shape)


def reader(run: Run, flow: Flow, others: tuple[str, ...]) -> Column:
    """What gives an expression its columns: the flow's own, and ``node.column`` of other inputs."""

    def column(name: str) -> Values:
        node, dot, own = name.partition(".")
        if dot and node in others and name not in flow.added and name not in flow.places:
            return run.value(node).column(own)
        return flow.column(name)

    return column
