"""Events: facts that handlers append in their own transaction; the outbox carries them to whoever subscribed.

Events are how a lower floor is heard by a higher one. Delivery is at least once, so a subscriber must be idempotent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from rung.core.records import Record

F = TypeVar("F", bound=Callable[..., Any])


class Event(Record):
    """Something that happened; ``kind`` is its stable dotted name."""

    kind: ClassVar[str]


SUBSCRIBERS: dict[type[Event], list[Callable[..., Any]]] = {}


def on(kind: type[Event]) -> Callable[[F], F]:
    """Subscribe a function ``(event, platform) -> None`` to a kind of event."""

    def register(subscriber: F) -> F:
        held = SUBSCRIBERS.setdefault(kind, [])
        if all(s.__qualname__ != subscriber.__qualname__ or s.__module__ != subscriber.__module__ for s in held):
            held.append(subscriber)
        return subscriber

    return register


def event_types() -> dict[str, type[Event]]:
    """Every known kind of event by its name."""
    return {kind.kind: kind for kind in Event.__subclasses__()}
