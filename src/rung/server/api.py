"""The native API: ``POST /api/<operation>`` for every request there is, blobs, and the OpenAPI description."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rung.app.local import LocalTransport
from rung.app.platform import Caller, Platform, request_named
from rung.core.errors import Denied, Invalid
from rung.core.records import Record, invalid, prepared
from rung.core.requests import Request as Asked
from rung.governance.rules import may
from rung.protocols.streams import download, incoming_folder, received
from rung.server.doors import project_of, token_of
from rung.server.following import Waiters
from rung.server.openapi import openapi
from rung.serving.node_records import FollowDeployments, Followed
from rung.serving.node_rights import serves_blob

R = TypeVar("R", bound=Record)
Q = TypeVar("Q", bound=Asked[Any])
_JSON, _PACK = "application/json", "application/msgpack"


def api_routes(platform: Platform, waiters: Waiters) -> list[Route]:
    """Routes of the native API of a platform; ``waiters`` keeps the questions of inference nodes until there is something new."""

    async def operation(request: Request) -> Response:
        body = await limited_body(request, platform.settings.server.max_body_mb)
        return await to_thread.run_sync(_answer, platform, request, body)

    async def follow(request: Request) -> Response:
        body = await limited_body(request, platform.settings.server.max_body_mb)

        def ask() -> Followed:
            asked, caller = _asked(platform, request, FollowDeployments, body)
            request.state.wait_s = asked.wait_s
            return platform.answer(asked, caller)

        answer = await to_thread.run_sync(ask)
        if not answer.changed:
            answer = await waiters.followed(ask, request.state.wait_s, request.is_disconnected)
        return _encoded(request, answer)

    async def put_blob(request: Request) -> Response:
        digest = await _receive_blob(platform, request)
        return _encoded(request, digest)

    async def get_blob(request: Request) -> Response:
        digest = request.path_params["digest"]
        await to_thread.run_sync(_allow_blob, platform, request, digest)
        headers = {"content-disposition": "attachment"}
        return await to_thread.run_sync(download, platform, digest, "application/octet-stream", headers, request.headers)

    async def description(request: Request) -> Response:
        return Response(await to_thread.run_sync(_openapi_json), media_type=_JSON)

    return [
        Route("/api/openapi.json", description, methods=["GET"]),
        Route("/api/blobs", put_blob, methods=["PUT"]),
        Route("/api/blobs/{digest}", get_blob, methods=["GET"]),
        Route(f"/api/{FollowDeployments.operation}", follow, methods=["POST"]),
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
    kind: Any = request_named(request.path_params["operation"])
    asked, caller = _asked(platform, request, kind, body)
    return _encoded(request, platform.answer(asked, caller))


def _allow_blob(platform: Platform, request: Request, digest: str) -> None:
    """Raise Denied unless the caller may read blobs, or serves and this is one of a version that is deployed."""
    transport = transport_of(platform, request)
    caller = transport.caller()
    if not may(caller.role, "blob:read") and may(caller.role, "blob:serve"):
        if not platform.scope(caller).read(lambda scope: serves_blob(scope, digest)):
            raise Denied(
                f"{caller.name!r} may have blobs of deployed versions only, and {digest} is of none.", code="governance.denied",
                hint="Deploy the version first.",
            )  # fmt: skip
        return
    transport.allow("blob:read")


def _asked(platform: Platform, request: Request, kind: type[Q], body: bytes) -> tuple[Q, Caller]:
    """A request decoded, and who makes it."""
    caller = transport_of(platform, request).caller(kind)
    return _decoded(request, kind, body), caller


def _decoded(request: Request, kind: type[R], body: bytes) -> R:
    media = request.headers.get("content-type", "").partition(";")[0].strip()
    if media not in {_JSON, _PACK}:
        raise Invalid(f"Content-Type {media or 'none'!r} is not understood.", code="request.media_type", hint=f"Send {_JSON} or {_PACK}.")
    try:
        decode: Any = msgspec.msgpack.decode if media == _PACK else msgspec.json.decode
        return decode(body or (b"\x80" if media == _PACK else b"{}"), type=prepared(kind))  # type: ignore[no-any-return]
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        plain = None
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            plain = decode(body)
        raise invalid(kind, error, plain) from None


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
