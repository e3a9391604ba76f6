"""Doing something once a module has been imported, by whomever; nothing is imported for it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Then = Callable[[ModuleType], None]


class Awaiting(MetaPathFinder):
    """Stands first among the finders, finds nothing itself, and sees to it that ``then`` follows the import."""

    def __init__(self) -> None:
        self._awaited: dict[str, Then] = {}
        self._looking = threading.local()

    def when_imported(self, name: str, then: Then) -> None:
        """Call ``then`` with the module: now if it is there, else right after its import."""
        module = sys.modules.get(name)
        if module is not None:
            then(module)
            return
        self._awaited[name] = then
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def forget(self) -> None:
        """Wait for nothing more."""
        self._awaited.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec that the other finders give, its loader followed by ours."""
        if fullname not in self._awaited or getattr(self._looking, "name", None) == fullname:
            return None
        self._looking.name = fullname
        try:
            spec = next(filter(None, (_asked(finder, fullname, path, target) for finder in sys.meta_path)), None)
        finally:
            self._looking.name = None
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            return None
        spec.loader = _Followed(spec.loader, lambda module: self._arrived(fullname, module))
        return spec

    def _arrived(self, name: str, module: ModuleType) -> None:
        then = self._awaited.pop(name, None)
        if then is not None:
            then(module)


class _Followed(Loader):
    """A loader that leaves everything to the original, and is gone from the module once it is loaded."""

    def __init__(self, original: Loader, then: Then) -> None:
        self._original = original
        self._then = then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._original.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._original
        module.__loader__ = self._original
        self._original.exec_module(module)
        self._then(module)

    def __getattr__(self, name: str) -> object:
        return getattr(self._original, name)


def _asked(finder: Any, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    ask = getattr(finder, "find_spec", None)
    return ask(name, path, target) if ask is not None else None
