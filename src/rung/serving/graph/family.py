"""The family of graph nodes: what a kind of node must be able to say before any row comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import Invalid
from rung.core.families import Family
from rung.core.records import Record
from rung.data.records import Profile
from rung.features.records import AppliedView
from rung.registry.records import ModelVersion
from rung.serving.graph.expressions import Expression, compiled
from rung.serving.graph.flow import REQUEST, Node, Shape
from rung.serving.graph.functions import Kind
from rung.serving.options.graph import GraphNode

if TYPE_CHECKING:
    import polars as pl

Micros = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Features:
    """Features of n keys: one column a feature, the event time of each row's values (µs, 0 where there are none), and where some are."""

    columns: Sequence[pl.Series]
    events_us: Micros
    present: NDArray[np.bool_]


class Counter(Protocol):
    """Counts within windows, shared by every process that answers for a deployment."""

    def take(self, key: str, window: int, limit: int) -> bool:
        """Count one more of a key in a window, unless there were ``limit`` already: then False."""
        ...


class Surroundings(Protocol):
    """What a graph may ask of the place it lives in."""

    @property
    def own(self) -> ModelVersion:
        """The deployment's own version: what a model node without a name means."""
        ...

    def version(self, model: str, number: int) -> ModelVersion:
        """A version. Raises NotFound, or Conflict for one that cannot be loaded."""
        ...

    def alias(self, model: str, alias: str) -> int:
        """The number an alias stands on now. Raises NotFound."""
        ...

    def view(self, name: str, number: int | None) -> AppliedView:
        """A feature view. Raises NotFound."""
        ...

    def dtypes(self, view: AppliedView) -> Mapping[str, str]:
        """Types of the columns of a view's dataset, by name."""
        ...

    def features(self, view: AppliedView) -> Callable[[pl.DataFrame, Micros], Features]:
        """What looks features of the view up, by keys and instants."""
        ...

    def profile(self, dataset: str, number: int | None) -> Profile:
        """Statistics of a dataset version. Raises NotFound."""
        ...

    def rows(self, dataset: str, number: int | None, columns: Sequence[str], most: int) -> pl.DataFrame:
        """Some rows of a dataset version, spread over it. Raises NotFound."""
        ...

    def example(self, version: ModelVersion) -> pl.DataFrame | None:
        """The rows a version was registered with; None when none were kept."""
        ...

    def counter(self, node: str) -> Counter:
        """The counter of a node."""
        ...


@dataclass(frozen=True)
class Building:
    """What a kind is given to make one of its nodes: the names it reads from, and what they give."""

    node: GraphNode
    inputs: tuple[str, ...]
    shapes: Mapping[str, Shape]
    around: Surroundings

    @property
    def shape(self) -> Shape:
        """What the first input gives."""
        return self.shapes[self.inputs[0]]

    @property
    def request(self) -> Shape:
        """What callers send."""
        return self.shapes[REQUEST]

    def expression(self, text: str, wanted: Kind | None = None, over: Shape | None = None) -> Expression:
        """A checked expression over the first input's columns, and over those of any input as ``node.column``."""
        others = {name: self.shapes[name] for name in self.inputs}
        return compiled(text, (over or self.shape).read_by(others), wanted=wanted or "any")

    def only_one(self) -> str:
        """The one input. Raises Invalid when there are more."""
        if len(self.inputs) != 1:
            raise self.wrong(f"it reads from {len(self.inputs)} nodes, and takes one", "Name one input.")
        return self.inputs[0]

    def wrong(self, why: str, hint: str) -> Invalid:
        """The error for a node that cannot be."""
        return Invalid(f"Node {self.node.name!r}: {why}.", code="graph.bad_node", hint=hint)


class NodeKind(Protocol):
    """A member of the family: the record of its settings, and how a node is made."""

    settings: type[Record]

    def refers(self, settings: Any) -> tuple[str, ...]:
        """Nodes that its settings name, besides the inputs: branches."""
        ...

    def models(self, settings: Any) -> tuple[str, ...]:
        """Models that its settings name: ``name:number``, or empty for the deployment's own."""
        ...

    def frozen(self, settings: Any, around: Surroundings) -> Any:
        """The settings with what must not change under a revision written into them: numbers for aliases, what a profile says."""
        ...

    def looks_up(self, node: Any) -> Mapping[str, Kind]:
        """Features that a node made by it looks up, by the names they are logged under."""
        ...

    def made(self, settings: Any, building: Building) -> Node:
        """The node. Raises Invalid for what cannot work, before any row has come."""
        ...


class Plain:
    """A kind that names no other nodes and no models; others override what they do."""

    @staticmethod
    def refers(settings: Any) -> tuple[str, ...]:
        """None."""
        return ()

    @staticmethod
    def models(settings: Any) -> tuple[str, ...]:
        """None."""
        return ()

    @staticmethod
    def frozen(settings: Any, around: Surroundings) -> Any:
        """As they are."""
        return settings

    @staticmethod
    def looks_up(node: Any) -> Mapping[str, Kind]:
        """None."""
        return {}


GRAPH_NODES: Family[NodeKind] = Family("graph_nodes", "rung.serving.graph.nodes")
