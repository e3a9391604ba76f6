"""All rows of the MLflow protocol, gathered from the modules beside this one, and the routes they make.

A module adds rows by ``ROWS``, and routes that stream by ``routes(make_transport)`` and ``STREAMS``; no list has to be edited.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType

from starlette.requests import Request
from starlette.routing import BaseRoute

from rung.app.local import LocalTransport
from rung.protocols import mlflow
from rung.protocols.mlflow.routes import Row, Stream, starlette_routes

MakeTransport = Callable[[Request], LocalTransport]


def mlflow_routes(make_transport: MakeTransport) -> list[BaseRoute]:
    """Every route of the protocol but the hot ones.

    Args:
        make_transport: gives a transport that asks in the name of whoever sent a request.
    """
    streaming = [route for module in _modules() if hasattr(module, "routes") for route in module.routes(make_transport)]
    last = [route for module in _modules() if hasattr(module, "last_routes") for route in module.last_routes(make_transport)]
    return [*streaming, *starlette_routes(all_rows(), make_transport), *last]


@cache
def all_rows() -> tuple[Row, ...]:
    """The rows of every module, longest path first, so that a parameter never hides a word."""
    rows = [row for module in _modules() for row in getattr(module, "ROWS", ())]
    return tuple(sorted(rows, key=lambda row: ("{" in row.path, -len(row.path))))


@cache
def all_streams() -> tuple[Stream, ...]:
    """What every module says of its routes that are no rows."""
    return tuple(stream for module in _modules() for stream in getattr(module, "STREAMS", ()))


@cache
def _modules() -> tuple[ModuleType, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(mlflow.__path__) if module.name not in {"table", "routes"})
    return tuple(import_module(f"{mlflow.__name__}.{name}") for name in names)
