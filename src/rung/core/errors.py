"""Errors, named by what the caller can do about them.

    RungError
    ├── NotFound        ask for something else: it does not exist, or not for you
    ├── AlreadyExists   choose another name
    ├── Invalid         change the request
    ├── Conflict        look again and decide anew: somebody else was first
    ├── Denied          ask somebody who may
    └── Unavailable     try again later

``code`` is stable and documented; the message names the value; the hint is an imperative. Only entrances map the
classes to HTTP statuses and exit codes.
"""

from __future__ import annotations

from typing import ClassVar


class RungError(Exception):
    """Base of every error that Rung raises on purpose."""

    kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return _rebuild, (type(self).kind, self.message, self.code, self.hint)


class NotFound(RungError):
    """It does not exist, or not for this principal."""

    kind = "not_found"


class AlreadyExists(RungError):
    """The name is taken."""

    kind = "already_exists"


class Invalid(RungError):
    """The request contradicts itself, its types or the rules."""

    kind = "invalid"


class Conflict(RungError):
    """The state changed, or forbids the request as it stands."""

    kind = "conflict"


class Denied(RungError):
    """The principal is unknown or lacks the permission."""

    kind = "denied"


class Unavailable(RungError):
    """Something needed does not answer now; the same request may succeed later."""

    kind = "unavailable"


ERRORS: dict[str, type[RungError]] = {error.kind: error for error in (NotFound, AlreadyExists, Invalid, Conflict, Denied, Unavailable)}


def rebuilt(kind: str, message: str, *, code: str, hint: str | None = None) -> RungError:
    """The error that a wire form describes; an unknown kind, from a newer server, becomes Unavailable."""
    return ERRORS.get(kind, Unavailable)(message, code=code, hint=hint)


def _rebuild(kind: str, message: str, code: str, hint: str | None) -> RungError:
    return rebuilt(kind, message, code=code, hint=hint)
