"""The border between the user's training and our logging: what fails on our side is told once and goes no further.

One call is watched at a time in a thread of control: what a watched call calls itself is nested and not logged again.
"""

from __future__ import annotations

import logging
import os
import random
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from rung.client.autolog.options import is_silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STRICT = "RUNG_AUTOLOG_STRICT"
_log = logging.getLogger("rung.autolog")
_told: set[tuple[str, str]] = set()


class Watcher(Protocol):
    """Follows one call from its beginning to its end."""

    library: str

    def succeeded(self, result: Any) -> None:
        """The call answered."""
        ...

    def failed(self, error: BaseException) -> None:
        """The call raised."""
        ...


class Nobody:
    """Follows a call that is not logged; what it calls is nested all the same."""

    library = ""

    def succeeded(self, result: Any) -> None:
        """Nothing."""

    def failed(self, error: BaseException) -> None:
        """Nothing."""


inside: ContextVar[Watcher | None] = ContextVar("rung_autolog_inside", default=None)


class quietly:  # noqa: N801 - used as a statement: with quietly("…")
    """Tell a failure of ours once as a warning and go on. With RUNG_AUTOLOG_STRICT it is raised: for tests."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if error is None or not isinstance(error, Exception) or os.environ.get(STRICT):
            return False
        cause = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        hint = getattr(error, "hint", "")
        if (self._what, cause) not in _told and not is_silent():
            _told.add((self._what, cause))
            _log.warning("rung.autolog: %s: %s%s", self._what, cause, f" {hint}" if hint else "")
        return True


def observed(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], watch: Callable[[], Watcher | None]) -> Any:
    """The original's answer, or its exception; watched unless it is nested in a watched call."""
    if inside.get() is not None:
        return original(*args, **kwargs)
    watcher: Watcher | None = None
    token = inside.set(_NOBODY)
    try:
        with quietly("a run could not be logged to"), untouched_randomness():
            watcher = watch()
        inside.set(watcher or _NOBODY)
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            if watcher is not None:
                with quietly("a failed call could not be logged"):
                    watcher.failed(error)
            raise
        if watcher is not None:
            with quietly("a call could not be logged"), untouched_randomness():
                watcher.succeeded(result)
        return result
    finally:
        inside.reset(token)


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Leave the global random generators as they were: logging must not change what is trained next."""
    state, numpy = random.getstate(), sys.modules.get("numpy")
    held = numpy.random.get_state() if numpy is not None else None
    torch = sys.modules.get("torch")
    kept = torch.get_rng_state() if torch is not None and hasattr(torch, "get_rng_state") else None
    try:
        yield
    finally:
        random.setstate(state)
        if numpy is not None and held is not None:
            numpy.random.set_state(held)
        if torch is not None and kept is not None:
            torch.set_rng_state(kept)


def nested(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The original's answer; nothing that it calls is logged."""
    return observed(original, args, kwargs, lambda: None)


_NOBODY = Nobody()
