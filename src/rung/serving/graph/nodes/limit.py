"""Action limits: at most so many actions of a kind in a window, for all or for each entity; beyond that the cautious one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from rung.core.records import Key, Record
from rung.serving.graph.family import GRAPH_NODES, Building, Counter, Plain
from rung.serving.graph.flow import Flow, Shape
from rung.serving.graph.nodes.decide import ACTION, shown
from rung.serving.graph.running import Run

LIMITED = "action_limited"
_SECOND = 1_000_000


class LimitSettings(Record):
    """``actions``: most of each in a window of ``window_s`` seconds of event time; ``entity``: a column, empty for all rows together."""

    actions: dict[Key, Annotated[int, Meta(ge=0)]]
    cautious: Key
    window_s: Annotated[float, Meta(gt=0)]
    entity: str = ""
    column: Key = ACTION


@dataclass(frozen=True, slots=True)
class Limit:
    """Counts actions, and takes the cautious one where a limit is reached."""

    source: str
    column: str
    limits: dict[str, int]
    cautious: str
    window_us: int
    entity: str
    counter: Counter
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows with actions within their limits; those changed are flagged."""
        flow = run.value(self.source)
        actions = flow.column(self.column)
        at = [row for row, action in enumerate(actions) if action in self.limits]
        if not at or not run.counting:
            return flow
        who = flow.column(self.entity) if self.entity else None
        times = run.times_us
        changed = np.zeros(flow.height, dtype=np.bool_)
        for row in at:
            action = str(actions[row])
            key = f"{action}\x1f{'' if who is None else who[row]}"
            changed[row] = not self.counter.take(key, int(times[row]) // self.window_us, self.limits[action])
        if not changed.any():
            return flow
        run.flag(LIMITED, changed)
        return shown(flow, {self.column: np.where(changed, self.cautious, actions).astype(np.object_)})


@GRAPH_NODES.member("limit")
class LimitKind(Plain):
    """At most N: ``actions = {block = 3}``, ``cautious = "review"``, ``window_s = 86400``, ``entity = "customer"``."""

    settings = LimitSettings

    @staticmethod
    def made(settings: LimitSettings, building: Building) -> Limit:
        """The node, if there are actions to limit and an entity to count by."""
        source, kinds = building.only_one(), building.shape.kinds
        if kinds.get(settings.column) != "text":
            raise building.wrong(f"the rows have no action {settings.column!r} here", "Put a decide node before it.")
        if settings.entity and settings.entity not in kinds:
            raise building.wrong(f"there is no column {settings.entity!r} to count by", f"Known: {', '.join(kinds)}.")
        if settings.cautious in settings.actions:
            raise building.wrong(f"the cautious action {settings.cautious!r} is limited itself", "Choose one that is always allowed.")
        if settings.window_s * _SECOND < 1:
            raise building.wrong("its window is shorter than a microsecond", "Choose a longer one.")
        counter = building.around.counter(building.node.name)
        window = round(settings.window_s * _SECOND)
        return Limit(source, settings.column, dict(settings.actions), settings.cautious, window, settings.entity, counter, building.shape)
