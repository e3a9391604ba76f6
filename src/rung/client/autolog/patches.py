"""Replacing functions of other libraries, and putting back exactly what was there.

A replacement calls ``handler(original, args, kwargs)``. The handler is a function of a module, so a replacement that a
user's own class carries into another process by cloudpickle arrives there and, not being watched, does nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

Original = Callable[..., Any]
Handler = Callable[[Original, tuple[Any, ...], dict[str, Any]], Any]


class Patches:
    """What was replaced, in order. ``caller``: names of the module that asked, where copies of a function may stand."""

    def __init__(self, caller: dict[str, Any] | None = None) -> None:
        self._caller = caller if caller is not None else {}
        self._done: list[tuple[Any, str, Any, bool, Any]] = []
        self._copies: list[tuple[dict[str, Any], str, Any, Any]] = []
        self._undoing: list[Callable[[], None]] = []

    def put(self, owner: Any, name: str, new: Any) -> None:
        """Set an attribute of a class or module, keeping what it was."""
        held = vars(owner)
        self._done.append((owner, name, held.get(name), name in held, new))
        setattr(owner, name, new)

    def holds(self, owner: Any, name: str) -> bool:
        """Whether this attribute is replaced already."""
        return any(item[0] is owner and item[1] == name for item in self._done)

    def method(self, owner: type, name: str, handler: Handler) -> None:
        """Have calls of a method that the class itself defines pass through the handler."""
        original = vars(owner).get(name)
        if original is None or isinstance(original, (staticmethod, classmethod, property)):
            return
        self.put(owner, name, through(original, handler) if callable(original) else Passing(original, handler))

    def function(self, module: Any, name: str, handler: Handler) -> None:
        """Have calls of a module's function pass through the handler, by every name it has there and in the asking module."""
        original = getattr(module, name, None)
        if original is None:
            return
        new = through(original, handler)
        self.put(module, name, new)
        for key, value in list(self._caller.items()):
            if value is original:
                self._copies.append((self._caller, key, original, new))
                self._caller[key] = new

    def when_undone(self, then: Callable[[], None]) -> None:
        """Also do this when everything is put back."""
        self._undoing.append(then)

    def undo(self) -> None:
        """Put everything back; what somebody else replaced in the meantime stays theirs."""
        while self._undoing:
            self._undoing.pop()()
        for names, key, original, new in reversed(self._copies):
            if names.get(key) is new:
                names[key] = original
        for owner, name, old, was_there, new in reversed(self._done):
            if vars(owner).get(name) is not new:
                continue
            if was_there:
                setattr(owner, name, old)
            else:
                delattr(owner, name)
        self._done.clear()
        self._copies.clear()


def through(original: Original, handler: Handler) -> Original:
    """A function that looks like the original and passes its calls through the handler."""

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return handler(original, args, kwargs)

    return call


class Passing:
    """A descriptor (a method that exists only for some objects) whose bound methods pass through the handler."""

    def __init__(self, original: Any, handler: Handler) -> None:
        self.original = original
        self.handler = handler
        self.__doc__ = getattr(original, "__doc__", None)

    def __get__(self, item: Any, owner: type | None = None) -> Any:
        found = self.original.__get__(item, owner)
        return found if item is None else functools.wraps(found)(_Bound(found, item, self.handler))


class _Bound:
    def __init__(self, found: Original, item: Any, handler: Handler) -> None:
        self._found, self._item, self._handler = found, item, handler

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._handler(self._unbound, (self._item, *args), kwargs)

    def _unbound(self, _item: Any, *args: Any, **kwargs: Any) -> Any:
        return self._found(*args, **kwargs)


def bound(original: Original, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, as the original's signature has them; the first is the object itself for a method."""
    code = getattr(original, "__wrapped__", original)
    while hasattr(code, "__wrapped__"):
        code = code.__wrapped__
    names = code.__code__.co_varnames[: code.__code__.co_argcount] if hasattr(code, "__code__") else ()
    return {**dict(zip(names, args, strict=False)), **kwargs}
