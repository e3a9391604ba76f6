"""The composition of the server: guard, inference hot path, native API, foreign protocols, UI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from anyio import to_thread
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from rung.app.platform import Caller, Platform
from rung.core.errors import Denied, RungError
from rung.governance.rules import may
from rung.protocols.mlflow.hot import HotPath
from rung.protocols.mlflow.table import mlflow_routes
from rung.protocols.prometheus import metrics_routes
from rung.protocols.streams import sweep
from rung.server.api import api_routes, transport_of
from rung.server.doors import Guard, Projects, RunDoor, WithoutAuth, project_of, token_of
from rung.server.errors import on_error, on_fault
from rung.serving.dataplane import DataPlane
from rung.serving.live import live_table
from rung.ui.app import ui_routes

_THREADS = 40


def build(platform: Platform, *, inference_only: bool = False, open_as: str = "") -> tuple[ASGIApp, Callable[[], None]]:
    """The ASGI application of a platform, and what to call when it has stopped.

    Args:
        platform: an open platform; the application does not close it.
        inference_only: leave out API and pages.
        open_as: the token that requests without one are answered with; empty: they are refused.
    """
    sweep(platform)
    routes: list[BaseRoute] = [
        *_health_routes(platform),
        *metrics_routes(lambda request, right: transport_of(platform, request).allow(right)),
    ]
    if not inference_only:
        routes += api_routes(platform)
        routes += mlflow_routes(lambda request: transport_of(platform, request))
        routes += ui_routes(lambda request: transport_of(platform, request))
    behind = Starlette(routes=routes, exception_handlers={RungError: on_error, 500: on_fault}, lifespan=_lifespan())
    table = live_table(platform.database, platform.blobs, platform.settings)
    plane = DataPlane(table, lambda headers: _admitted(platform, headers), behind, max_body_mb=platform.settings.server.max_body_mb)
    front: ASGIApp = plane if inference_only else HotPath(plane, RunDoor(platform))
    guarded: ASGIApp = Projects(WithoutAuth(front, open_as) if open_as else front)
    return Guard(guarded, hosts=frozenset({platform.settings.server.host})), plane.close


def _admitted(platform: Platform, headers: Headers) -> Caller:
    connection = HTTPConnection({"type": "http", "headers": headers.raw})
    caller = platform.identify(token_of(connection), project_of(connection))
    if not may(caller.role, "prediction:predict"):
        raise Denied(
            f"{caller.name!r} may not ask for predictions here.", code="governance.denied", hint="Ask an owner of the project for a role."
        )
    return caller


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
