"""A model version that scores the rows: the deployment's own, or any other of the project."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rung.core.records import Line, Record, replaced
from rung.registry.records import ModelVersion
from rung.serving.graph.family import GRAPH_NODES, Building, Plain, Surroundings
from rung.serving.graph.flow import Fitter, Flow, Shape, kind_of
from rung.serving.graph.making import model_ref
from rung.serving.graph.running import OWN, Run


class ModelSettings(Record):
    """``model``: ``name:number``, empty for the deployment's own; ``columns``: the model's inputs by other names at hand."""

    model: Line = OWN
    columns: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Model:
    """Gives the rows their scores."""

    source: str
    model: str
    fitter: Fitter
    version: ModelVersion
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows with this model's scores."""
        flow = run.value(self.source)
        return flow.having(score=run.score(self.model, self.fitter.rows(flow)), classes=self.version.classes)


@GRAPH_NODES.member("model")
class ModelKind(Plain):
    """A model: ``model = "churn:7"``, or nothing for the deployment's own version."""

    settings = ModelSettings

    @staticmethod
    def models(settings: ModelSettings) -> tuple[str, ...]:
        """The one it asks."""
        return (settings.model,)

    @staticmethod
    def frozen(settings: ModelSettings, around: Surroundings) -> ModelSettings:
        """With the number of an alias."""
        return replaced(settings, model=frozen_model(settings.model, around))

    @staticmethod
    def made(settings: ModelSettings, building: Building) -> Model:
        """The node, if every input of the model is at hand in a kind that fits."""
        source = building.only_one()
        version, fitter = fitted(settings.model, settings.columns, building.shape, building)
        shape = replace(building.shape, task=version.known_task, classes=version.classes)
        return Model(source, settings.model, fitter, version, shape)


def frozen_model(model: str, around: Surroundings) -> str:
    """``name@alias`` as ``name:number``; anything else as it is. Raises NotFound."""
    name, at, alias = model.partition("@")
    return f"{name}:{around.alias(name, alias)}" if at else model


def fitted(model: str, renamed: dict[str, str], shape: Shape, building: Building) -> tuple[ModelVersion, Fitter]:
    """A version and what brings a flow of this shape into its inputs. Raises Invalid naming columns that are missing or of another kind."""
    version = building.around.own if model == OWN else building.around.version(*model_ref(model))
    inputs = version.signature.inputs
    strange = [name for name in renamed if name not in {item.name for item in inputs}]
    if strange:
        raise building.wrong(f"{_named(version)} has no input {strange[0]!r}", f"It takes {', '.join(i.name for i in inputs)}.")
    usable = tuple(item for item in inputs if not item.optional or renamed.get(item.name, item.name) in shape.kinds)
    missing = [name for name in (renamed.get(i.name, i.name) for i in usable) if name not in shape.kinds]
    if missing:
        raise building.wrong(
            f"{_named(version)} takes {', '.join(missing[:10])}, which the rows do not have here",
            "Work them out in a transform, look them up, or declare them among the graph's inputs.",
        )
    for item in usable:
        given, wanted = shape.kinds[renamed.get(item.name, item.name)], kind_of(item.dtype)
        if given != wanted and not {given, wanted} <= {"number", "truth"}:
            raise building.wrong(
                f"{_named(version)} takes {item.name} as a {wanted}, and it is a {given} here", "Turn it into one in a transform."
            )
    return version, Fitter(usable, renamed)


def _named(version: ModelVersion) -> str:
    return f"{version.model}:{version.number}"
