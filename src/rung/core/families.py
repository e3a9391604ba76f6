"""Families: kinds of plug-in. A member is one file in the family's package, or an entry point of another project.

A family is filled on first use. A duplicate name raises, an unknown name lists the known ones.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, Generic, TypeVar

from rung.core.errors import Invalid, NotFound

M = TypeVar("M")
B = TypeVar("B")


class Family(Generic[M]):
    """The members of one kind, found by file in ``package`` and by entry point in the group ``rung.<name>``."""

    def __init__(self, name: str, package: str) -> None:
        self.name = name
        self.package = package
        self._members: dict[str, M] = {}
        self._loaded = False
        self._lock = threading.RLock()

    def add(self, name: str, member: M) -> None:
        """Enter a member. Raises Invalid when another one holds the name."""
        held = self._members.get(name)
        if held is not None and _origin(held) != _origin(member):
            raise Invalid(
                f"Two members of {self.name} are called {name!r}: {_origin(held)} and {_origin(member)}.",
                code="family.duplicate",
                hint="Rename one of them.",
            )
        self._members[name] = member

    def member(self, name: str) -> Callable[[B], B]:
        """Decorator that enters what it decorates, and gives it back unchanged."""

        def register(item: B) -> B:
            self.add(name, item)  # type: ignore[arg-type]  # the decorated thing is a member; its own type is kept
            return item

        return register

    def get(self, name: str) -> M:
        """The member of that name. Raises NotFound, listing the known names."""
        self._load()
        if name not in self._members:
            raise NotFound(
                f"There is no {self.name} member {name!r}.",
                code="family.unknown",
                hint=f"Known: {', '.join(sorted(self._members)) or 'none'}.",
            )
        return self._members[name]

    def names(self) -> list[str]:
        """Names of all members, sorted."""
        self._load()
        return sorted(self._members)

    def items(self) -> list[tuple[str, M]]:
        """Names and members, sorted by name."""
        self._load()
        return sorted(self._members.items())

    def _load(self) -> None:
        with self._lock:
            if self._loaded:
                return
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            if _mentioned(f"[rung.{self.name}]", tuple(sys.path)):
                from importlib.metadata import entry_points  # noqa: PLC0415 - loading it costs more than most families do

                for entry in entry_points(group=f"rung.{self.name}"):
                    self.add(entry.name, entry.load())
            self._loaded = True  # only now: a family half filled by a failed import must fail again


def _mentioned(group: str, places: tuple[str, ...]) -> bool:
    """Whether a distribution there may have entry points of a group; where that cannot be seen in files, it may."""
    return any(said is None or group in said for said in map(_entry_points, places))


@cache
def _entry_points(place: str) -> str | None:
    """What distributions in a folder of the path say of entry points; None for an archive."""
    said = []
    try:
        for name in os.listdir(place or "."):
            if name.endswith((".dist-info", ".egg-info")):
                with suppress(OSError), open(os.path.join(place, name, "entry_points.txt"), encoding="utf-8", errors="replace") as file:
                    said.append(file.read())
    except FileNotFoundError:
        return ""
    except OSError:
        return None
    return "\n".join(said)


def _origin(member: Any) -> str:
    kind = member if hasattr(member, "__qualname__") else type(member)
    return f"{kind.__module__}.{kind.__qualname__}"
