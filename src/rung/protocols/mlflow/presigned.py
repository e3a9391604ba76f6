"""Addresses that carry a ticket: who holds one fetches, or sends, one artifact without a token."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from anyio import to_thread
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rung.app.local import LocalTransport
from rung.core.errors import Invalid, RungError
from rung.protocols import tickets
from rung.protocols.mlflow import shapes, wire
from rung.protocols.mlflow.artifacts import PROXY, bytes_of, named, sent
from rung.protocols.mlflow.places import checked
from rung.protocols.mlflow.routes import Stream, error_response, read_body
from rung.tracking.artifacts import GetArtifact, ListArtifacts, LogArtifact

if TYPE_CHECKING:
    from rung.protocols.mlflow.table import MakeTransport

_LIFE_S = 900
_WEEK_S = 604_800
_TICKETS = f"{PROXY}/tickets"
_JSON = "application/json"
STREAMS = (
    Stream("GET", f"{PROXY}/presigned/{{path}}", "an address to fetch a file from without a token, for 15 minutes", (GetArtifact,)),
    Stream("POST", "/api/2.0/mlflow/artifacts/presigned-download-url", "the same for a file of a run", (GetArtifact,)),
    Stream("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", "an address to send a file to", (LogArtifact, ListArtifacts)),
    Stream("GET PUT", f"{_TICKETS}/{{ticket}}", "where those addresses lead; the ticket is its own leave", (LogArtifact,)),
)
Expiration = Annotated[int, Meta(ge=1, le=_WEEK_S)]


class DownloadBody(wire.Body):
    """A file of a run."""

    run_id: str
    path: str
    expiration: Expiration = _LIFE_S


class UploadBody(wire.Body):
    """A file of a run or of a logged model."""

    path: str
    run_id: str | None = None
    model_id: str | None = None
    expiration: Expiration = _LIFE_S


def routes(make_transport: MakeTransport) -> list[BaseRoute]:
    """Routes that give addresses, and the one that all addresses lead to."""

    def giving(work: Callable[[Request, LocalTransport, bytes], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            def given(raw: bytes) -> Response:
                return Response(msgspec.json.encode(work(request, make_transport(request), raw)), media_type=_JSON)

            try:
                return await to_thread.run_sync(given, b"" if request.method == "GET" else await read_body(request))
            except RungError as error:
                return error_response(error)
            except ClientDisconnect:
                return Response(status_code=499)  # nobody reads it

        return answer

    async def used(request: Request) -> Response:
        platform = make_transport(request).platform
        try:
            verb: Literal["get", "put"] = "put" if request.method == "PUT" else "get"
            now = platform.clock.now()
            ticket = await to_thread.run_sync(tickets.read, platform.settings.home_path, request.path_params["ticket"], verb, now)
            if verb == "get":
                return await to_thread.run_sync(bytes_of, platform, ticket.digest, ticket.path, ticket.media_type, request.headers)
            caller = await to_thread.run_sync(platform.acting, ticket.project, ticket.principal)
            return await sent(request, LocalTransport(platform, caller=caller), ticket.owner, ticket.path)
        except RungError as error:
            return error_response(error)

    found: list[BaseRoute] = []
    for api in ("/api", "/ajax-api"):
        found.append(Route(f"{PROXY.replace('/api', api)}/presigned/{{path:rest}}", giving(_of_path), methods=["GET"]))
        stem = f"{api}/2.0/mlflow/artifacts"
        found.append(Route(f"{stem}/presigned-download-url", giving(_to_get), methods=["POST"]))
        found.append(Route(f"{stem}/presigned-upload-url", giving(_to_put), methods=["POST"]))
    found += [
        Route(f"{prefix}/tickets/{{ticket}}", used, methods=["GET", "PUT"]) for prefix in (PROXY, PROXY.replace("/api/", "/ajax-api/"))
    ]
    return found


def _of_path(request: Request, transport: LocalTransport, raw: bytes) -> dict[str, Any]:
    return _leave_to_get(request, transport, *named(request.path_params["path"]), _LIFE_S, "url")


def _to_get(request: Request, transport: LocalTransport, raw: bytes) -> dict[str, Any]:
    transport.allow("blob:read")
    body = wire.decode_json(raw, DownloadBody)
    return _leave_to_get(request, transport, shapes.known_id(body.run_id, "run"), checked(body.path), body.expiration, "presigned_url")


def _to_put(request: Request, transport: LocalTransport, raw: bytes) -> dict[str, Any]:
    transport.allow(LogArtifact.permission)
    body = wire.decode_json(raw, UploadBody)
    if bool(body.run_id) == bool(body.model_id):
        raise Invalid("Exactly one of run_id and model_id must be given.", code="mlflow.which_owner", hint="Send one of them.")
    owner = shapes.known_id(body.run_id, "run") if body.run_id else f"m-{shapes.model_id(body.model_id or '')}"
    path = checked(body.path)
    transport.call(ListArtifacts(owner=owner, under=path))  # raises for an owner or path that cannot be written to
    caller = transport.caller()
    ticket = tickets.Ticket(
        verb="put", expires_at=_until(transport, body.expiration), project=caller.project, principal=caller.principal, owner=owner, path=path
    )  # fmt: skip
    return {"presigned_url": _address(request, transport, ticket), "headers": {}}


def _leave_to_get(request: Request, transport: LocalTransport, owner: str, path: str, life_s: int, name: str) -> dict[str, Any]:
    transport.allow("blob:read")
    artifact, caller = transport.call(GetArtifact(owner=owner, path=path)), transport.caller()
    ticket = tickets.Ticket(
        verb="get", expires_at=_until(transport, life_s), project=caller.project, principal=caller.principal, owner=owner, path=path,
        digest=artifact.digest, media_type=artifact.media_type,
    )  # fmt: skip
    return {name: _address(request, transport, ticket), "headers": {}, "file_size": artifact.size_bytes}


def _until(transport: LocalTransport, life_s: int) -> Any:
    return transport.platform.clock.now() + timedelta(seconds=life_s)


def _address(request: Request, transport: LocalTransport, ticket: tickets.Ticket) -> str:
    text = tickets.signed(transport.platform.settings.home_path, ticket)
    return f"{str(request.base_url).rstrip('/')}{_TICKETS}/{text}"
