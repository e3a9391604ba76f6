"""The composition of the server: guard, inference hot path, native API, foreign protocols, UI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from anyio import to_thread
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from rung.app.platform import Platform
from rung.core.errors import RungError
from rung.server.api import api_routes, transport_of
from rung.server.doors import Guard
from rung.server.errors import on_error, on_fault

_THREADS = 40


def build(platform: Platform, *, ui: bool = True) -> ASGIApp:
    """The ASGI application of a platform.

    Args:
        platform: an open platform; the application does not close it.
        ui: whether to serve the pages.
    """
    routes: list[BaseRoute] = [*_health_routes(platform), *api_routes(platform)]
    if ui and find_spec("rung.ui.app"):
        routes += import_module("rung.ui.app").ui_routes(lambda request: transport_of(platform, request))
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=frozenset({platform.settings.server.host}))],
        exception_handlers={RungError: on_error, 500: on_fault},
        lifespan=_lifespan(),
    )


def _lifespan() -> Callable[[Any], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        yield

    return lifespan


def _health_routes(platform: Platform) -> list[Route]:
    async def healthz(request: Request) -> Response:
        return PlainTextResponse("OK")

    async def readyz(request: Request) -> Response:
        try:
            await to_thread.run_sync(lambda: platform.database.read(lambda connection: connection.execute(text("SELECT 1")).scalar()))
        except RungError as error:
            return JSONResponse({"ready": False, "reason": error.message}, 503)
        return JSONResponse({"ready": True})

    return [Route("/healthz", healthz), Route("/health", healthz), Route("/readyz", readyz)]
