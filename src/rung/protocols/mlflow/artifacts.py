"""The artifact proxy: bytes in and out of the tree ``mlflow-artifacts:/``, lists, deletion.

An upload is acknowledged when its bytes and its name are on disk; one that breaks off leaves nothing behind.
"""

from __future__ import annotations

import mimetypes
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rung.app.local import LocalTransport
from rung.core.errors import Invalid, NotFound, RungError
from rung.protocols.mlflow import shapes, wire
from rung.protocols.mlflow.places import checked, located
from rung.protocols.mlflow.routes import Answer, Call, Row, error_response, row
from rung.protocols.streams import download, incoming_folder, received
from rung.tracking.artifacts import DeleteArtifact, GetArtifact, ListArtifacts, LogArtifact
from rung.tracking.records import Artifact, GetExperiment, GetRun

if TYPE_CHECKING:
    from rung.protocols.mlflow.table import MakeTransport

PROXY = "/api/2.0/mlflow-artifacts"
BECOMES = (LogArtifact, GetArtifact, ListArtifacts, DeleteArtifact)
_SMALL = 1 << 20
_JSON = "application/json"


class ListBody(wire.Body):
    """A folder of a run."""

    run_id: str | None = None
    run_uuid: str | None = None
    path: str | None = None
    page_token: str | None = None


@row("GET", "/artifacts/list", ListBody, ListArtifacts, GetRun, GetExperiment)
def list_of_run(body: ListBody, call: Call) -> Answer:
    run = call(GetRun(run=shapes.run_id(body)))
    under = checked(body.path or "")
    files = shapes.file_rows(call(ListArtifacts(owner=run.id, under=under)), under)
    chosen = call(GetExperiment(number=run.experiment_number)).artifact_location
    root = shapes.artifact_uri(run, {run.experiment_number: chosen})
    return wire.without_empty({"root_uri": root, "files": files})


ROWS: tuple[Row, ...] = (list_of_run,)


def routes(make_transport: MakeTransport) -> list[BaseRoute]:
    """Routes that carry bytes."""

    async def proxy(request: Request) -> Response:
        try:
            transport = make_transport(request)
            path = request.path_params.get("path", "")
            if request.method == "PUT":
                return await _put(request, transport, path)
            if request.method == "DELETE":
                return await to_thread.run_sync(_delete, transport, path)
            return await to_thread.run_sync(_get, transport, *located(path), "range" in request.headers)
        except RungError as error:
            return error_response(error)

    async def listing(request: Request) -> Response:
        try:
            return await to_thread.run_sync(_list, make_transport(request), request.query_params.get("path", ""))
        except RungError as error:
            return error_response(error)

    async def of_run(request: Request) -> Response:
        try:
            query = request.query_params
            run = shapes.known_id(query.get("run_id") or query.get("run_uuid") or "", "run")
            return await to_thread.run_sync(_get, make_transport(request), run, checked(query.get("path", "")), "range" in request.headers)
        except RungError as error:
            return error_response(error)

    found: list[BaseRoute] = []
    for prefix in (PROXY, PROXY.replace("/api/", "/ajax-api/")):
        found.append(Route(f"{prefix}/artifacts", listing, methods=["GET"]))
        found.append(Route(f"{prefix}/artifacts/{{path:rest}}", proxy, methods=["GET", "PUT", "DELETE"]))
    found += [
        Route(path, of_run, methods=["GET"])
        for path in ("/get-artifact", "/api/2.0/mlflow/get-artifact", "/ajax-api/2.0/mlflow/get-artifact")
    ]
    return found


async def _put(request: Request, transport: LocalTransport, path: str) -> Response:
    owner, inner = located(path)
    if not inner:
        raise Invalid(f"Invalid path: {path[:100]!r} names no file.", code="mlflow.bad_path", hint="Send the path of a file.")
    await to_thread.run_sync(transport.allow, "blob:write")
    length = request.headers.get("content-length", "")
    try:
        if length.isdecimal() and int(length[:12]) <= _SMALL:
            await to_thread.run_sync(_keep, transport, owner, inner, await request.body())
        else:
            with tempfile.TemporaryDirectory(dir=incoming_folder(transport.platform)) as folder:
                path_ = Path(folder) / "blob"
                await received(request, path_)
                await to_thread.run_sync(_keep, transport, owner, inner, path_)
    except ClientDisconnect:
        return Response(status_code=499)  # nobody reads it
    return Response(b"{}", media_type=_JSON)


def _keep(transport: LocalTransport, owner: str, inner: str, content: bytes | Path) -> Artifact:
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    media = mimetypes.guess_type(inner)[0] or "application/octet-stream"
    digest = transport.put_blob(content, move=True)
    return transport.call(LogArtifact(owner=owner, path=inner, digest=digest, size_bytes=size, media_type=media))


def _get(transport: LocalTransport, owner: str, inner: str, ranged: bool) -> Response:  # noqa: FBT001 - called in a thread by position
    if not inner:
        raise NotFound("The path names no file.", code="tracking.no_artifact", hint="List the artifacts first.")
    transport.allow("blob:read")
    found = transport.call(GetArtifact(owner=owner, path=inner))
    name = inner.rsplit("/", 1)[-1]
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(name)}", "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
    }  # fmt: skip
    return download(transport.platform, found.digest, found.media_type, headers, ranged=ranged)


def _delete(transport: LocalTransport, path: str) -> Response:
    owner, inner = located(path)
    if not inner:
        for item in transport.call(ListArtifacts(owner=owner)):
            transport.call(DeleteArtifact(owner=owner, path=item.path))
    else:
        transport.call(DeleteArtifact(owner=owner, path=inner.rstrip("/")))
    return Response(b"{}", media_type=_JSON)


def _list(transport: LocalTransport, path: str) -> Response:
    owner, inner = located(path)
    files = shapes.file_rows(transport.call(ListArtifacts(owner=owner, under=inner)), inner)
    start = inner.strip("/") + "/" if inner.strip("/") else ""
    relative = [{**item, "path": item["path"].removeprefix(start)} for item in files]
    return Response(wire.encode(wire.without_empty({"files": relative})), media_type=_JSON)
