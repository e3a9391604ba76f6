"""The native API: ``POST /api/<operation>`` for every request there is, blobs, and the OpenAPI description."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rung.app.local import LocalTransport
from rung.app.platform import Platform, request_named
from rung.core.errors import Invalid
from rung.core.records import invalid, prepared
from rung.protocols.streams import download, incoming_folder, received
from rung.server.doors import project_of, token_of
from rung.server.openapi import openapi

_JSON, _PACK = "application/json", "application/msgpack"


def api_routes(platform: Platform) -> list[Route]:
    """Routes of the native API of a platform."""

    async def operation(request: Request) -> Response:
        body = await limited_body(request, platform.settings.server.max_body_mb)
        return await to_thread.run_sync(_answer, platform, request, body)

    async def put_blob(request: Request) -> Response:
        digest = await _receive_blob(platform, request)
        return _encoded(request, digest)

    async def get_blob(request: Request) -> Response:
        transport = transport_of(platform, request)
        digest = request.path_params["digest"]
        await to_thread.run_sync(transport.allow, "blob:read")
        headers = {"content-disposition": "attachment"}
        return await to_thread.run_sync(download, platform, digest, "application/octet-stream", headers, request.headers)

    async def description(request: Request) -> Response:
        return Response(await to_thread.run_sync(_openapi_json), media_type=_JSON)

    return [
        Route("/api/openapi.json", description, methods=["GET"]),
        Route("/api/blobs", put_blob, methods=["PUT"]),
        Route("/api/blobs/{digest}", get_blob, methods=["GET"]),
        Route("/api/{operation}", operation, methods=["POST"]),
    ]


def transport_of(platform: Platform, request: Request) -> LocalTransport:
    """The platform as seen by whoever sent an HTTP request."""
    return LocalTransport(platform, token=token_of(request), project=project_of(request))


async def limited_body(request: Request, limit_mb: int) -> bytes:
    """The whole body. Raises Invalid past the limit, as soon as it is passed."""
    parts, size, limit = [], 0, limit_mb << 20
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise Invalid(
                f"The body is larger than {limit_mb} MiB.", code="request.too_large", hint="Send less at once, or files as blobs."
            )
        parts.append(part)
    return b"".join(parts)


def _answer(platform: Platform, request: Request, body: bytes) -> Response:
    caller = platform.identify(token_of(request), project_of(request))
    kind = request_named(request.path_params["operation"])
    media = request.headers.get("content-type", "").partition(";")[0].strip()
    if media not in {_JSON, _PACK}:
        raise Invalid(f"Content-Type {media or 'none'!r} is not understood.", code="request.media_type", hint=f"Send {_JSON} or {_PACK}.")
    try:
        decode: Any = msgspec.msgpack.decode if media == _PACK else msgspec.json.decode
        asked = decode(body or (b"\x80" if media == _PACK else b"{}"), type=prepared(kind))
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(kind, error) from None
    return _encoded(request, platform.answer(asked, caller))


def _encoded(request: Request, answer: Any) -> Response:
    if "msgpack" in request.headers.get("accept", ""):
        return Response(msgspec.msgpack.encode(answer), media_type=_PACK)
    return Response(msgspec.json.encode(answer), media_type=_JSON)


async def _receive_blob(platform: Platform, request: Request) -> str:
    transport = transport_of(platform, request)
    await to_thread.run_sync(transport.allow, "blob:write")
    with tempfile.TemporaryDirectory(dir=incoming_folder(platform)) as folder:
        path = Path(folder) / "blob"
        await received(request, path)
        return await to_thread.run_sync(lambda: transport.put_blob(path, move=True))


@cache
def _openapi_json() -> bytes:
    return msgspec.json.encode(openapi())
