"""Rung: one MLOps platform from data to decision."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own would load typing, a third of what `import rung` costs
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # The public names live in rung.api, loaded on first use: `import rung` itself must cost next to nothing.
    if name.startswith("_"):
        raise AttributeError(name)
    import importlib  # noqa: PLC0415 - see above

    try:
        return getattr(importlib.import_module("rung.client.api"), name)
    except AttributeError:
        raise AttributeError(f"module 'rung' has no attribute {name!r}") from None
