"""What a driver's errors mean to the caller, in words without SQL."""

from __future__ import annotations

from typing import Any

from rung.core.errors import Unavailable


def cause_of(error: BaseException) -> BaseException:
    """The driver's own error, which SQLAlchemy wraps where a statement went through it."""
    found = getattr(error, "orig", None)
    return found if isinstance(found, BaseException) else error


def unavailable(error: Any) -> Unavailable:
    """The refusal that an operational error of a driver, wrapped by SQLAlchemy or not, becomes."""
    cause = str(cause_of(error))
    if "readonly" in cause:
        return Unavailable("The database is read-only.", code="storage.read_only", hint="Make the home writable.")
    if "locked" in cause or "busy" in cause:
        return Unavailable(
            "The database is locked by another process.", code="storage.locked", hint="Wait for it, or stop it, then repeat."
        )
    if "full" in cause:
        return Unavailable("The disk is full.", code="storage.full", hint="Free some space; nothing was half-written.")
    if "unable to open" in cause:
        return Unavailable("The database file cannot be opened.", code="storage.unopenable", hint="Check the home's path and rights.")
    return Unavailable(f"The database does not answer: {cause.splitlines()[0]}.", code="storage.unavailable", hint="Check that it runs.")
