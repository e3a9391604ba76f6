"""Small packages written into a folder, and the fingerprint of the function ``run`` in them."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path

from rung.pipelines.fingerprint import fingerprint

_numbers = itertools.count()


def digest(folder: Path, files: dict[str, str], *, name: str = "steps") -> tuple[str, tuple[str, ...]]:
    """The fingerprint of ``run`` in a fresh package that has these files; PACKAGE in them stands for its name."""
    number = next(_numbers)
    place = folder / f"at_{number}"
    package = "project"
    (place / package).mkdir(parents=True)
    (place / package / "__init__.py").write_text("")
    for file, text in files.items():
        path = place / package / f"{file}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("PACKAGE", package))
    sys.path.insert(0, str(place))
    importlib.invalidate_caches()
    try:
        found = fingerprint(importlib.import_module(f"{package}.{name}").run)
    finally:
        sys.path.remove(str(place))
        for held in [held for held in sys.modules if held.partition(".")[0] == package]:
            del sys.modules[held]
    return found.digest, found.unsure


def same(folder: Path, before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether two states of a project have one fingerprint."""
    return digest(folder, before)[0] == digest(folder, after)[0]
