"""Several scores made one: the mean, a weighted mean, a vote, or a model that was fitted on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from rung.core.records import Line, Record, Share, replaced
from rung.core.references import Task
from rung.serving.graph.family import GRAPH_NODES, Building, Plain, Surroundings
from rung.serving.graph.flow import Fitter, Flow, Shape
from rung.serving.graph.functions import Kind
from rung.serving.graph.nodes.model import fitted, frozen_model
from rung.serving.graph.running import OWN, Run
from rung.serving.inference import Floats

How = Literal["mean", "weighted", "vote", "stacking"]
_FEWEST = 2


class EnsembleSettings(Record):
    """``weights`` by input; ``threshold`` of a vote on P(positive); ``model`` is fitted on the inputs' scores, called as they are."""

    how: How = "mean"
    weights: dict[str, Annotated[float, Meta(ge=0)]] = {}
    threshold: Share = 0.5
    model: Line = OWN
    columns: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Makes one score of those of its inputs."""

    inputs: tuple[str, ...]
    how: How
    weights: Floats
    threshold: float
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows of the first input with the common score."""
        flows = [run.value(name) for name in self.inputs]
        scores = np.stack([flow.score for flow in flows if flow.score is not None])
        if self.how == "vote":
            scores = _ballots(scores, self.threshold)
        return flows[0].having(score=np.tensordot(self.weights, scores, axes=1))


@dataclass(frozen=True, slots=True)
class Stacking:
    """Gives the inputs' scores to a model, as columns called like the inputs."""

    inputs: tuple[str, ...]
    model: str
    fitter: Fitter
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows of the first input with the model's score."""
        flows = {name: run.value(name) for name in self.inputs}
        first = flows[self.inputs[0]]
        added = dict(first.added)
        for name, flow in flows.items():
            added |= {name: flow.score} if flow.score is not None and flow.score.ndim == 1 else {}
        scored = run.score(self.model, self.fitter.rows(first.having(added=added)))
        return first.having(score=scored, classes=self.shape.classes)


def _ballots(scores: Floats, threshold: float) -> Floats:
    """Each input's answer as whole votes: 1 for the positive class, or for the class it gives most to."""
    if scores.ndim == 2:  # noqa: PLR2004 - inputs by rows
        return np.asarray(scores >= threshold, dtype=np.float64)
    votes = np.zeros_like(scores)
    np.put_along_axis(votes, scores.argmax(axis=2, keepdims=True), 1.0, axis=2)
    return votes


@GRAPH_NODES.member("ensemble")
class EnsembleKind(Plain):
    """One score of several: ``inputs = ["a", "b"]``, ``how = "mean"``."""

    settings = EnsembleSettings

    @staticmethod
    def models(settings: EnsembleSettings) -> tuple[str, ...]:
        """The model of a stacking."""
        return (settings.model,) if settings.how == "stacking" else ()

    @staticmethod
    def frozen(settings: EnsembleSettings, around: Surroundings) -> EnsembleSettings:
        """With the number of an alias."""
        return replaced(settings, model=frozen_model(settings.model, around))

    @staticmethod
    def made(settings: EnsembleSettings, building: Building) -> Ensemble | Stacking:
        """The node, if its inputs predict one thing."""
        if len(building.inputs) < _FEWEST:
            raise building.wrong("an ensemble of one is none", "Name two inputs or more.")
        shapes = {name: building.shapes[name] for name in building.inputs}
        dumb = [name for name, shape in shapes.items() if shape.task is None]
        if dumb:
            raise building.wrong(f"input {dumb[0]!r} has no score", "Put a model behind it.")
        if settings.how == "stacking":
            return _stacking(settings, building, shapes)
        if settings.model != OWN or settings.columns:
            raise building.wrong(f"{settings.how} asks no model", 'Say how = "stacking", or drop model and columns.')
        return Ensemble(
            building.inputs, settings.how, _weights(settings, building), settings.threshold, _common(building, shapes, settings.how)
        )


def _stacking(settings: EnsembleSettings, building: Building, shapes: dict[str, Shape]) -> Stacking:
    kinds: dict[str, Kind] = {**building.shape.kinds, **{name: "number" for name, shape in shapes.items() if shape.task != "multiclass"}}
    shape = replace(building.shape, kinds=kinds)
    version, fitter = fitted(settings.model, settings.columns, shape, building)
    return Stacking(building.inputs, settings.model, fitter, replace(building.shape, task=version.known_task, classes=version.classes))


def _weights(settings: EnsembleSettings, building: Building) -> Floats:
    if bool(settings.weights) != (settings.how == "weighted"):
        raise building.wrong('weights and how = "weighted" belong together', "Give both, or neither.")
    if set(settings.weights) not in (set(), set(building.inputs)):
        raise building.wrong(f"its weights are for {', '.join(settings.weights)}", f"Give one to each of {', '.join(building.inputs)}.")
    weights = np.array([settings.weights.get(name, 1.0) for name in building.inputs], dtype=np.float64)
    if weights.sum() <= 0:
        raise building.wrong("its weights add up to nothing", "Give at least one input a weight above 0.")
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _common(building: Building, shapes: dict[str, Shape], how: How) -> Shape:
    tasks: set[Task | None] = {shape.task for shape in shapes.values()}
    classes = {shape.classes for shape in shapes.values()}
    if len(tasks) > 1 or len(classes) > 1:
        told = ", ".join(f"{name} is {shape.task} of {len(shape.classes)} classes" for name, shape in shapes.items())
        raise building.wrong(f"its inputs predict different things: {told}", "Combine models of one task and the same classes.")
    if how == "vote" and "regression" in tasks:
        raise building.wrong("values cannot be voted on", 'Say how = "mean".')
    return building.shape
