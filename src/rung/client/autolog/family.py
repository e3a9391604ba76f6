"""The family of autologgers: which modules of a library are waited for, and what is replaced in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Protocol

from rung.client.autolog.patches import Patches
from rung.core.errors import Invalid
from rung.core.families import Family

Hook = Callable[[ModuleType, Patches], None]


class Autologger(Protocol):
    """How one library is watched. ``hooks`` are called once the module they are named by has been imported by somebody."""

    hooks: Mapping[str, Hook]
    spellings: tuple[str, ...]


AUTOLOGGERS: Family[Autologger] = Family("autologgers", "rung.client.autolog.libraries")


def library(name: str) -> str:
    """The library that goes by this name. Raises Invalid, listing the known ones."""
    for known, member in AUTOLOGGERS.items():
        if name.lower() in {known, *member.spellings}:
            return known
    raise Invalid(
        f"{name!r} is no library that autolog knows.", code="autolog.unknown_library", hint=f"Known: {', '.join(AUTOLOGGERS.names())}."
    )
