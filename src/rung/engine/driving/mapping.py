"""Maps: a node that calls its step once an item. Items end on their own, in batches that suit their length."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rung.core.errors import Invalid
from rung.engine.driving.keys import item_base, item_key
from rung.engine.driving.states import Live
from rung.engine.executors.family import Piece, value_of
from rung.engine.wiring import Outputs, content, held_by, inside
from rung.pipelines.items import ITEMS, items_of
from rung.pipelines.records import Artifact, StepItem
from rung.pipelines.tracing import Either, Handle
from rung.storage.blobs import BlobStore

_FIRST = 8
_MOST = 1000
_SPAN_S = 0.5


class Mapped(msgspec.Struct):
    """The items of a map: their arguments and keys, which wait, which have ended, and how."""

    items: list[dict[str, Any]]
    keys: list[str]
    contents: list[Any]
    base: str
    fixed_batch: int = 0
    waiting: deque[int] = msgspec.field(default_factory=deque)
    alone: deque[int] = msgspec.field(default_factory=deque)
    later: int = 0
    running: int = 0
    outputs: dict[int, tuple[Artifact, ...]] = msgspec.field(default_factory=dict)
    tries: dict[int, int] = msgspec.field(default_factory=dict)
    losses: dict[int, int] = msgspec.field(default_factory=dict)
    failed: dict[int, str] = msgspec.field(default_factory=dict)
    cached: int = 0
    has_rows: bool = False
    unwritten: list[StepItem] = msgspec.field(default_factory=list)
    stopped: bool = False
    _seconds: float = 0.0
    _timed: int = 0

    @property
    def idle(self) -> bool:
        """Whether no item waits, pauses or is in flight."""
        return not (self.running or ((self.waiting or self.alone or self.later) and not self.stopped))

    @property
    def can_begin(self) -> bool:
        """Whether an item could begin now."""
        return bool(self.waiting or self.alone) and not self.stopped

    def next_batch(self, slots: int) -> tuple[int, ...]:
        """The positions of the next batch: one that was lost in company runs alone, others as many as suit half a second."""
        if self.alone:
            return (self.alone.popleft(),)
        count = self.fixed_batch or self._fitting(slots)
        return tuple(self.waiting.popleft() for _ in range(min(count, len(self.waiting))))

    def timed(self, seconds: float, count: int) -> None:
        """Learn how long items take."""
        self._seconds += seconds
        self._timed += count

    def _fitting(self, slots: int) -> int:
        fair = -(-len(self.waiting) // max(1, slots))
        if not self._timed:
            return max(1, min(_FIRST, fair))
        return max(1, min(_MOST, fair, int(_SPAN_S / max(self._seconds / self._timed, 1e-6))))


def mapped(live: Live, outputs: Outputs, blobs: BlobStore, scratch: Path) -> Mapped:
    """The items of a map that has come up. Raises Invalid for collections that are none or of different lengths."""
    node = live.node
    columns = {name: _items(live, name, node.arguments[name], outputs, blobs, scratch) for name in node.over}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise Invalid(
            f"Step {live.key!r} maps over collections of different lengths: {told} items.",
            code="pipelines.uneven_map", hint="Make them equally long, or give one as unmapped(…).",
        )  # fmt: skip
    count = next(iter(lengths.values()), 0)
    items = [{name: column[place] for name, column in columns.items()} for place in range(count)]
    base = item_base(live)
    known = {name: live.columns.get(name) or _contents(live, column, outputs) for name, column in columns.items()}
    contents = [{name: parts[place] for name, parts in known.items()} for place in range(count)]
    keys = [item_key(base, item) for item in contents]
    return Mapped(items=items, keys=keys, contents=contents, base=base, fixed_batch=node.batch)


def _contents(live: Live, column: Sequence[Any], outputs: Outputs) -> list[Any]:
    return [content(item, outputs, where=f"item {place} of step {live.key!r}") for place, item in enumerate(column)]


def _items(live: Live, name: str, value: Any, outputs: Outputs, blobs: BlobStore, scratch: Path) -> Sequence[Any]:
    if isinstance(value, (Handle, Either)):
        artifacts, path = held_by(value, outputs)
        if len(artifacts) == 1 and artifacts[0].kind == ITEMS and not path:
            data = artifacts[0].inline if artifacts[0].inline is not None else blobs.get(artifacts[0].digest)
            return [Piece(parts, whole=len(parts) > 1) for parts in items_of(data)]
        held = tuple(value_of(artifact, blobs, scratch) for artifact in artifacts)
        value = inside(held if len(held) > 1 else held[0], path)
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1:
        value = value.tolist()
    if not isinstance(value, (list, tuple, range)):
        raise Invalid(
            f"Step {live.key!r} maps over {name!r}, which is a {type(value).__name__} and no list.",
            code="pipelines.bad_map", hint="Let the step before it return a list, or give a value for all items as unmapped(…).",
        )  # fmt: skip
    return value


def sort_out(found: Mapped, finished: dict[int, StepItem], known: dict[str, tuple[Artifact, ...]]) -> None:
    """Divide the items into those that have ended, in this run or an earlier one, and those that wait.

    Args:
        finished: rows that an earlier attempt at this run has left.
        known: outputs by key that the cache holds.
    """
    found.has_rows = bool(finished)
    for place, key in enumerate(found.keys):
        row = finished.get(place)
        if row is not None and row.cache_key == key and row.status in {"succeeded", "cached"}:
            found.outputs[place] = row.outputs
            found.cached += row.status == "cached"
        elif (outputs := known.get(key)) is not None:
            found.outputs[place] = outputs
            found.cached += 1
            found.unwritten.append(StepItem(step_run="", position=place, status="cached", attempts=0, cache_key=key, outputs=outputs))
        else:
            found.waiting.append(place)


def failure(live: Live) -> str:
    """What went wrong in a map, naming the first item that failed and how many others did."""
    assert live.mapped is not None  # noqa: S101 - asked of maps only
    failed = live.mapped.failed
    first = min(failed)
    others = len(failed) - 1
    more = "" if not others else f" So did {others} other item{'s' if others > 1 else ''}: {_listed(sorted(failed)[1:])}."
    return f"Item {first} of map {live.key!r}: {failed[first]}{more}"


def _listed(places: Iterable[int], most: int = 10) -> str:
    held = list(places)
    return ", ".join(map(str, held[:most])) + (", …" if len(held) > most else "")
