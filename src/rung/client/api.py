"""The public names of ``rung``, each loaded from its module on first use."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "Client": "rung.client.client",
    "connect": "rung.client.client",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(name)
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(_EXPORTS)
