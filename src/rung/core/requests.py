"""Requests: what can be asked of the platform, and the one table that says which handler answers which.

A request's ``effect`` decides how it runs: ``read`` in a snapshot, ``write`` in one transaction together with its
audit event, ``work`` outside any transaction until it returns the function that saves, which then runs in one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_args

from rung.core.errors import Invalid, NotFound
from rung.core.records import Record

A = TypeVar("A")
F = TypeVar("F", bound=Callable[..., Any])
Effect = Literal["read", "write", "work"]


class Request(Record, Generic[A]):
    """A verb of the platform; subclasses set ``operation`` and ``permission`` and declare their fields."""

    operation: ClassVar[str]
    permission: ClassVar[str]
    effect: ClassVar[Effect] = "write"
    audited: ClassVar[bool] = True  # False only for telemetry: metric batches, heartbeats, log lines
    of_projects: ClassVar[bool] = False  # asked in the token's own project, whatever other is named: that one need not be there yet
    secrets: ClassVar[tuple[str, ...]] = ()  # fields that no record may show, the audit trail least of all


HANDLERS: dict[type[Request[Any]], Callable[..., Any]] = {}
OPERATIONS: dict[str, type[Request[Any]]] = {}
_whole: set[str] = set()  # areas whose operations are there, all of them


def handles(kind: type[Request[Any]]) -> Callable[[F], F]:
    """Register the function as the one handler of a request; a second one is a programming error."""

    def register(handler: F) -> F:
        for name in ("operation", "permission"):
            if not getattr(kind, name, None):
                raise Invalid(f"Request {kind.__name__} declares no {name}.", code="platform.no_" + name)
        held = HANDLERS.get(kind)
        known = OPERATIONS.get(kind.operation)
        if (held and held.__qualname__ != handler.__qualname__) or (known and known is not kind):
            raise Invalid(f"Operation {kind.operation!r} has two handlers.", code="platform.two_handlers")
        HANDLERS[kind] = handler
        OPERATIONS[kind.operation] = kind
        return handler

    return register


def handler_of(kind: type[Request[Any]]) -> Callable[..., Any]:
    """The handler of a request, importing its area's operations on first use. Raises NotFound."""
    package, _, rest = kind.__module__.partition(".")
    area = rest.partition(".")[0]
    if package == "rung" and area not in _whole:
        importlib.import_module(f"rung.{area}.operations")
        if kind in HANDLERS:  # maybe of a module which another thread is in the midst of: importing waits for that
            importlib.import_module(HANDLERS[kind].__module__)
        else:
            import_area(area)
    if kind not in HANDLERS:
        raise NotFound(f"Nothing handles {kind.operation!r}.", code="platform.no_handler")
    return HANDLERS[kind]


def import_area(area: str) -> None:
    """Import all operations of an area: those of its ``operations``, and of the modules that this names in ``LATER``.

    Those are what most commands never ask for, and loading them would be a good part of what a short command costs.
    """
    module = importlib.import_module(f"rung.{area}.operations")
    for name in getattr(module, "LATER", ()):
        importlib.import_module(f"rung.{area}.{name}")
    _whole.add(area)


def request_type(operation: str) -> type[Request[Any]]:
    """The request of a dotted operation name. Raises NotFound, naming the nearest known ones."""
    if operation not in OPERATIONS:
        from difflib import get_close_matches  # noqa: PLC0415 - a fifth of a millisecond nobody else should pay

        near = get_close_matches(operation, OPERATIONS, n=3)
        raise NotFound(
            f"There is no operation {operation!r}.",
            code="platform.no_operation",
            hint=f"Did you mean {' or '.join(near)}?" if near else "GET /api/openapi.json lists them all.",
        )
    return OPERATIONS[operation]


def answer_type(kind: type[Request[Any]]) -> Any:
    """The type a request is answered with: the argument of its ``Request[...]`` base."""
    for base in getattr(kind, "__orig_bases__", ()):
        arguments = get_args(base)
        if arguments:
            return arguments[0]
    raise Invalid(f"Request {kind.__name__} does not say what answers it.", code="platform.no_answer")
