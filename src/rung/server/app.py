"""The composition of the server: guard, inference hot path, native API, foreign protocols, UI."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from rung.app.platform import Platform
from rung.core.errors import RungError
from rung.protocols.mlflow.hot import HotPath
from rung.protocols.mlflow.table import mlflow_routes
from rung.protocols.prometheus import metrics_routes
from rung.protocols.streams import sweep
from rung.server.api import api_routes, transport_of
from rung.server.doors import Guard, PredictDoor, Projects, RunDoor, WithoutAuth
from rung.server.errors import on_error, on_fault
from rung.server.following import Waiters
from rung.server.hooks import hook_routes
from rung.serving.dataplane import DataPlane
from rung.serving.ending import DRAINING, REASON
from rung.serving.live import LiveTable, live_table
from rung.serving.paths import Paths
from rung.storage.raw import Raw
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
    table = live_table(platform.database, platform.blobs, platform.settings)
    routes: list[BaseRoute] = [
        *_health_routes(platform),
        *metrics_routes(lambda request, right: transport_of(platform, request).allow(right)),
    ]
    if not inference_only:
        routes += api_routes(platform, Waiters(table))
        routes += hook_routes(platform)
        routes += mlflow_routes(lambda request: transport_of(platform, request))
        routes += ui_routes(lambda request: transport_of(platform, request))
    behind = Starlette(routes=routes, exception_handlers={RungError: on_error, 500: on_fault}, lifespan=_lifespan(table))
    platform.after_write.append(table.settle)
    hosts = platform.settings.server.names
    front: ASGIApp = behind if inference_only else HotPath(behind, RunDoor(platform))
    guarded = Guard(Projects(WithoutAuth(front, open_as) if open_as else front), hosts=hosts)
    paths = Paths(os.environ, pages=not inference_only)
    plane = DataPlane(table, PredictDoor(platform, hosts, open_as), guarded, paths=paths)
    return plane, plane.close


def _lifespan(table: LiveTable) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        table.start()
        yield

    return lifespan


def _health_routes(platform: Platform) -> list[Route]:
    async def healthz(request: Request) -> Response:
        return PlainTextResponse("OK")

    async def readyz(request: Request) -> Response:
        if DRAINING.is_set():
            return JSONResponse({"ready": False, "reason": REASON}, 503)
        try:
            await to_thread.run_sync(lambda: platform.database.read(lambda connection: Raw(connection).rows("SELECT 1")))
        except RungError as error:
            return JSONResponse({"ready": False, "reason": error.message}, 503)
        return JSONResponse({"ready": True})

    return [Route("/healthz", healthz), Route("/health", healthz), Route("/readyz", readyz)]
