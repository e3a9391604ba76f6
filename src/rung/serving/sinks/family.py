"""What a sink is, and the family of sinks: a member is named by the scheme of the addresses it serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from rung.core.errors import Invalid
from rung.core.families import Family


@dataclass(frozen=True)
class Event:
    """One CloudEvent: its attributes (specversion, id, source, type and so on, all text) and its data."""

    attributes: dict[str, str]
    data: dict[str, Any]


@dataclass(frozen=True)
class Spec:
    """What a sink is made from: its address, its settings, the secret they name, and what the operator allows."""

    address: str
    settings: dict[str, Any] = field(default_factory=dict)
    secret: str = ""
    allow_private: bool = False
    timeout_s: float = 10.0


class Sink(Protocol):
    """Takes events. All of those given were taken when ``send`` returns; one sent again has the same id and source."""

    def send(self, events: Sequence[Event]) -> None:
        """Tell events in order. Raises Unavailable with the reason when they were not all taken; TooLarge when fewer might be."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class TooLarge(Exception):
    """The receiver wants fewer events at once."""


SINKS: Family[Callable[[Spec], Sink]] = Family("sinks", "rung.serving.sinks")


def sink_of(spec: Spec) -> Sink:
    """The sink of an address. Raises Invalid for an address or settings that no sink understands."""
    scheme = urlsplit(spec.address).scheme
    if scheme not in SINKS.names():
        raise Invalid(
            f"{shown(spec.address)!r} is no address of a sink.",
            code="serving.bad_sink",
            hint=f"Begin it with one of: {', '.join(f'{name}://' for name in SINKS.names())}.",
        )
    return SINKS.get(scheme)(spec)


def setting(spec: Spec, name: str, default: str, known: Sequence[str]) -> str:
    """A setting that is one of some words. Raises Invalid, listing them."""
    value = spec.settings.get(name, default)
    if value not in known:
        raise Invalid(f"Sink setting {name} is {value!r}.", code="serving.bad_sink", hint=f"Use one of: {', '.join(known)}.")
    return str(value)


def shown(address: str) -> str:
    """An address without a user's name, password and query."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
