"""Flags for input that the training data never held: values out of range, unseen categories, values that are missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from rung.core.errors import Invalid
from rung.core.records import Count, Line, Name, Number, Record, Share, replaced
from rung.data.records import ColumnProfile
from rung.serving.graph.family import GRAPH_NODES, Building, Plain, Surroundings
from rung.serving.graph.flow import Bools, Flow, Shape
from rung.serving.graph.functions import FUNCTIONS
from rung.serving.graph.running import Run
from rung.serving.inference import Floats

_MOST_FLAGS = 5
_missing = FUNCTIONS["is_null"].work


class Known(Record):
    """What a column held in the training data: its range, or all of its texts, and whether values were missing."""

    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] = ()
    nulls: Share = 0.0


class QualitySettings(Record):
    """``dataset``: whose profile is the norm, by default what the version was trained on; ``slack`` widens ranges by that share.

    ``columns`` is what was found there; it is filled in when the graph is set, so that answering needs no dataset.
    """

    dataset: Name | None = None
    number: Number | None = None
    only: tuple[str, ...] = ()
    slack: Annotated[float, Meta(ge=0, le=100)] = 0.0
    most_missing: Share | None = None
    most_flags: Count = _MOST_FLAGS
    columns: dict[str, Known] = {}
    profile: Line = ""


@dataclass(frozen=True, slots=True)
class Quality:
    """Passes rows through, with flags."""

    source: str
    ranges: tuple[str, ...]
    low: Floats
    high: Floats
    texts: tuple[tuple[str, frozenset[str]], ...]
    whole: tuple[str, ...]
    most_missing: float | None
    watched: tuple[str, ...]
    most_flags: int
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows as they came."""
        flow = run.value(self.source)
        flagged: dict[int, int] = {}
        for flag, mask in self._found(flow):
            if not mask.any():
                continue
            for row in np.flatnonzero(mask).tolist():
                flagged[row] = flagged.get(row, 0) + 1
            run.flag(flag, mask & np.array([flagged.get(row, 0) <= self.most_flags for row in range(flow.height)]))
        return flow

    def _found(self, flow: Flow) -> Iterator[tuple[str, Bools]]:
        if self.ranges:
            numbers = np.stack([np.asarray(flow.column(name), dtype=np.float64) for name in self.ranges], axis=1)
            outside = (numbers < self.low) | (numbers > self.high)
            for place in np.flatnonzero(outside.any(axis=0)).tolist():
                yield f"out_of_range:{self.ranges[place]}", outside[:, place]
        for name, known in self.texts:
            yield f"unseen:{name}", np.array([value is not None and value not in known for value in flow.column(name)])
        for name in self.whole:
            yield f"missing:{name}", np.asarray(_missing(flow.column(name)))
        if self.most_missing is not None and self.watched:
            share = np.mean([np.asarray(_missing(flow.column(name)), dtype=np.float64) for name in self.watched], axis=0)
            yield "much_missing", share > self.most_missing


@GRAPH_NODES.member("quality")
class QualityKind(Plain):
    """Input-quality flags by a dataset's profile: ``dataset = "flights"``."""

    settings = QualitySettings

    @staticmethod
    def frozen(settings: QualitySettings, around: Surroundings) -> QualitySettings:
        """The settings with what the profile says."""
        if settings.columns:
            return settings
        dataset, number = norm(settings.dataset, settings.number, around)
        profile = around.profile(dataset, number)
        wanted = set(settings.only)
        found = {column.name: known(column, settings.slack) for column in profile.columns if not wanted or column.name in wanted}
        return replaced(
            settings, dataset=dataset, number=profile.number, columns={name: item for name, item in found.items() if item is not None},
            profile=f"{dataset}:{profile.number}",
        )  # fmt: skip

    @staticmethod
    def made(settings: QualitySettings, building: Building) -> Quality:
        """The node, over the columns that both the rows and the profile have."""
        settings = QualityKind.frozen(settings, building.around)
        source, kinds = building.only_one(), building.shape.kinds
        absent = [name for name in settings.only if name not in kinds]
        if absent:
            raise building.wrong(f"there is no column {absent[0]!r} to watch", f"Known: {', '.join(kinds)}.")
        held = {name: item for name, item in settings.columns.items() if name in kinds}
        if not held:
            raise building.wrong("the rows share no column with the profile", "Name the dataset that the model was trained on.")
        ranges = [name for name, item in held.items() if item.low is not None and item.high is not None and kinds[name] == "number"]
        texts = tuple((name, frozenset(item.values)) for name, item in held.items() if item.values and kinds[name] == "text")
        return Quality(
            source, tuple(ranges), np.array([held[name].low for name in ranges], dtype=np.float64),
            np.array([held[name].high for name in ranges], dtype=np.float64), texts, tuple(n for n, item in held.items() if item.nulls == 0),
            settings.most_missing, tuple(held), settings.most_flags, building.shape,
        )  # fmt: skip


def norm(dataset: str | None, number: int | None, around: Surroundings) -> tuple[str, int | None]:
    """The dataset version that says what is usual: the one named, else what the deployment's version was trained on. Raises Invalid."""
    if dataset is not None:
        return dataset, number
    for role in ("train", "input", "reference"):
        for use in around.own.datasets:
            if use.role == role:
                return use.dataset, use.number
    raise Invalid(
        f"{around.own.model}:{around.own.number} does not say what it was trained on.", code="graph.no_profile", hint="Name a dataset."
    )


def known(column: ColumnProfile, slack: float) -> Known | None:
    """What a profile tells of a column; None where it is all missing, or where texts are too many to be known."""
    if not column.count or column.nulls + column.nans >= column.count:
        return None
    nulls = (column.nulls + column.nans) / column.count
    if column.minimum is not None and column.maximum is not None and column.kind == "number":
        more = slack * (column.maximum - column.minimum)
        return Known(low=column.minimum - more, high=column.maximum + more, nulls=nulls)
    values = tuple(item.value for item in column.top if item.value is not None)
    whole = column.kind == "text" and column.distinct is not None and column.distinct == len(values)
    return Known(values=values if whole else (), nulls=nulls)
