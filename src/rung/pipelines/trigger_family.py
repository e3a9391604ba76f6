"""Triggers as a family: a member is a kind of cause, with its options, the facts a cause brings, and the condition on them.

A member decides nothing about guard rails and knows no clock: it reads facts. What brings the facts (an event, a webhook,
a look at a repository) is the engine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rung.core.errors import Invalid
from rung.core.families import Family
from rung.core.records import Record, decoded
from rung.pipelines.triggering import TriggerCheck

O = TypeVar("O", bound=Record)  # noqa: E741 - options and facts of a member
F = TypeVar("F", bound=Record)


class NoOptions(Record):
    """Options of a kind that has none."""


@dataclass(frozen=True)
class Past(Generic[F]):
    """Facts of the last call that started a run, and of the calls since then, oldest first."""

    started: F | None = None
    since: tuple[F, ...] = ()


@dataclass(frozen=True)
class Example:
    """Options of a kind, with facts that meet them and facts that do not (None: every cause meets them)."""

    options: dict[str, Any]
    met: dict[str, Any]
    unmet: dict[str, Any] | None = None


# A measured window, in the examples of the kinds that are called by one.
WINDOW = {
    "deployment": "flights",
    "window": "0" * 32,
    "start": "2026-03-01T00:00:00Z",
    "end": "2026-03-08T00:00:00Z",
    "as_of": "2026-03-09T00:00:00Z",
}


class TriggerMember(Generic[O, F]):
    """One kind of trigger; subclasses say what is missing here.

    ``word`` is the key that names the subject in ``rung.toml`` and on the command line, ``about`` what the subject is.
    ``by_name`` are the facts that a parameter of the same name takes without being told to. ``looks_back``: the condition reads earlier calls. ``example`` is what the documentation shows and the suite of the
    family runs.
    """

    word: ClassVar[str]
    about: ClassVar[str] = ""
    over_http: ClassVar[bool] = False
    looks_back: ClassVar[bool] = False
    by_name: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[Example]
    options: type[O]
    facts: type[F]

    @classmethod
    def checked(cls, subject: str, pipeline: str, options: O) -> None:
        """Raise Invalid for options that cannot work together."""

    @classmethod
    def condition(cls, options: O, facts: F, past: Past[F]) -> TriggerCheck:
        """Whether a cause with these facts is one that the options ask for."""
        raise NotImplementedError


TRIGGERS: Family[type[TriggerMember[Any, Any]]] = Family("triggers", "rung.pipelines.triggers")


def met(statement: str, *, value: float | None = None, line: float | None = None) -> TriggerCheck:
    """The condition holds."""
    return TriggerCheck(guard="condition", passed=True, statement=statement[:1000], value=value, line=line)


def not_met(statement: str, *, value: float | None = None, line: float | None = None) -> TriggerCheck:
    """The condition does not hold."""
    return TriggerCheck(guard="condition", passed=False, statement=statement[:1000], value=value, line=line)


def options_of(kind: str, plain: dict[str, Any]) -> Any:
    """The options of a kind. Raises NotFound for an unknown kind, Invalid naming what it does not take."""
    member = TRIGGERS.get(kind)
    if strange := sorted(set(plain) - set(member.options.__struct_fields__)):
        raise Invalid(
            f"A trigger of kind {kind!r} has no option {strange[0]!r}.",
            code="pipelines.bad_trigger",
            hint=f"It has: {', '.join(member.options.__struct_fields__) or 'none'}.",
        )
    try:
        return decoded(plain, member.options)
    except Invalid as error:
        raise Invalid(
            f"Options of a trigger of kind {kind!r}: {error.message.partition(': ')[2] or error.message}",
            code="pipelines.bad_trigger",
            hint=f"It has: {', '.join(member.options.__struct_fields__)}.",
        ) from None


def facts_of(kind: str, plain: dict[str, Any]) -> Any:
    """The facts of a cause of a kind. Raises Invalid."""
    member = TRIGGERS.get(kind)
    return decoded({name: value for name, value in plain.items() if name in member.facts.__struct_fields__}, member.facts)
