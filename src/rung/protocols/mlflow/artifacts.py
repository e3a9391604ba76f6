"""The artifact proxy: bytes in and out of the tree ``mlflow-artifacts:/``, lists, deletion.

An upload is acknowledged when its bytes and its name are on disk; one that breaks off leaves nothing behind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rung.app.local import LocalTransport
from rung.app.platform import Platform
from rung.core.errors import Invalid, NotFound, RungError
from rung.protocols.mlflow import shapes, wire
from rung.protocols.mlflow.places import checked, located
from rung.protocols.mlflow.routes import Answer, Call, Row, Stream, error_response, row
from rung.protocols.streams import download, incoming_folder, received
from rung.registry.logged import GetDownload
from rung.tracking.artifacts import DeleteArtifact, GetArtifact, ListArtifacts, LogArtifact, media_type_of
from rung.tracking.logged import GetLoggedModel
from rung.tracking.records import Artifact, GetExperiment, GetRun
from rung.tracking.traces import GetTrace

if TYPE_CHECKING:
    from rung.protocols.mlflow.table import MakeTransport

PROXY = "/api/2.0/mlflow-artifacts"
STREAMS = (
    Stream("GET", f"{PROXY}/artifacts", "files of a folder", (ListArtifacts,)),
    Stream("PUT", f"{PROXY}/artifacts/{{path}}", "keeps a file", (LogArtifact,)),
    Stream("GET", f"{PROXY}/artifacts/{{path}}", "a file, or ranges of it", (GetArtifact,)),
    Stream("DELETE", f"{PROXY}/artifacts/{{path}}", "forgets a file or a folder", (DeleteArtifact, ListArtifacts)),
    Stream("GET", "/get-artifact", "a file of a run", (GetArtifact,)),
    Stream("GET", "/api/2.0/mlflow/get-artifact", "the same", (GetArtifact,)),
    Stream("GET", "/model-versions/get-artifact", "a file of a model version", (GetDownload, GetArtifact)),
    Stream("GET", "/api/2.0/mlflow/model-versions/get-artifact", "the same", (GetDownload, GetArtifact)),
    Stream("GET", "/api/2.0/mlflow/logged-models/{model_id}/artifacts/files", "a file of a logged model", (GetLoggedModel, GetArtifact)),
    Stream("GET", "/ajax-api/2.0/mlflow/get-trace-artifact", "the spans of a trace, or an attachment", (GetTrace, GetArtifact)),
    Stream("GET", "/ajax-api/3.0/mlflow/get-trace-artifact", "the same", (GetTrace, GetArtifact)),
)
Find = Callable[[Request, LocalTransport], tuple[str, str]]
_SMALL = 1 << 20
_MOST_DIGITS = 9
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
        path = request.path_params.get("path", "")
        try:
            transport = make_transport(request)
            if request.method == "PUT":
                await to_thread.run_sync(transport.allow, LogArtifact.permission)
                return await sent(request, transport, *named(path))
            if request.method == "DELETE":
                return await to_thread.run_sync(_delete, transport, path)
            return await to_thread.run_sync(fetched, transport, *located(path), request.headers)
        except RungError as error:
            return error_response(error)

    async def listing(request: Request) -> Response:
        try:
            return await to_thread.run_sync(_list, make_transport(request), request.query_params.get("path", ""))
        except RungError as error:
            return error_response(error)

    def of(find: Find) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            def work() -> Response:
                transport = make_transport(request)
                return fetched(transport, *find(request, transport), request.headers)

            try:
                return await to_thread.run_sync(work)
            except RungError as error:
                return error_response(error)

        return answer

    found: list[BaseRoute] = []
    for prefix in (PROXY, PROXY.replace("/api/", "/ajax-api/")):
        found.append(Route(f"{prefix}/artifacts", listing, methods=["GET"]))
        found.append(Route(f"{prefix}/artifacts/{{path:rest}}", proxy, methods=["GET", "PUT", "DELETE"]))
    for stem in ("", "/api/2.0/mlflow", "/ajax-api/2.0/mlflow"):
        found.append(Route(f"{stem}/get-artifact", of(_of_run), methods=["GET"]))
        found.append(Route(f"{stem}/model-versions/get-artifact", of(_of_version), methods=["GET"]))
        if stem:
            found.append(Route(f"{stem}/logged-models/{{model_id}}/artifacts/files", of(_of_model), methods=["GET"]))
    found += [Route(f"/ajax-api/{number}/mlflow/get-trace-artifact", of(_of_trace), methods=["GET"]) for number in ("2.0", "3.0")]
    return found


def named(path: str) -> tuple[str, str]:
    """Owner and path of a file in the proxy's tree. Raises Invalid for a path that names none, or climbs."""
    owner, inner = located(path)
    if not inner:
        raise Invalid(f"Invalid path: {path[:100]!r} names no file.", code="mlflow.bad_path", hint="Send the path of a file.")
    return owner, inner


async def sent(request: Request, transport: LocalTransport, owner: str, inner: str) -> Response:
    """Keep the body of a request as an artifact. Raises what writing it raises."""
    length = request.headers.get("content-length", "")
    try:
        if length.isdecimal() and int(length[:12]) <= _SMALL:
            await to_thread.run_sync(kept, transport, owner, inner, await request.body())
        else:
            with tempfile.TemporaryDirectory(dir=incoming_folder(transport.platform)) as folder:
                path = Path(folder) / "blob"
                await received(request, path)
                await to_thread.run_sync(kept, transport, owner, inner, path)
    except ClientDisconnect:
        return Response(status_code=499)  # nobody reads it
    return Response(b"{}", media_type=_JSON)


def kept(transport: LocalTransport, owner: str, inner: str, content: bytes | Path) -> Artifact:
    """The artifact that bytes become; a file may be taken away. Raises NotFound for its owner."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    digest = transport.put_blob(content, move=True)
    return transport.call(LogArtifact(owner=owner, path=inner, digest=digest, size_bytes=size, media_type=media_type_of(inner)))


def fetched(transport: LocalTransport, owner: str, inner: str, asked: Headers) -> Response:
    """The answer with an artifact's bytes. Raises NotFound, Denied."""
    if not inner:
        raise NotFound("The path names no file.", code="tracking.no_artifact", hint="List the artifacts first.")
    transport.allow("blob:read")
    artifact = transport.call(GetArtifact(owner=owner, path=inner))
    return bytes_of(transport.platform, artifact.digest, inner, artifact.media_type, asked)


def bytes_of(platform: Platform, digest: str, path: str, media: str, asked: Headers) -> Response:
    """The answer with the bytes of a file that a browser shall keep, never show. Raises NotFound."""
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(path.rpartition('/')[2])}", "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
    }  # fmt: skip
    return download(platform, digest, media, headers, asked)


def _of_run(request: Request, _: LocalTransport) -> tuple[str, str]:
    query = request.query_params
    return shapes.known_id(query.get("run_id") or query.get("run_uuid") or "", "run"), checked(query.get("path", ""))


def _of_model(request: Request, transport: LocalTransport) -> tuple[str, str]:
    model = transport.call(GetLoggedModel(model=shapes.model_id(request.path_params["model_id"])))
    return f"m-{model.id}", checked(request.query_params.get("artifact_file_path", ""))


def _of_version(request: Request, transport: LocalTransport) -> tuple[str, str]:
    query = request.query_params
    name, number = query.get("name", ""), query.get("version", "")
    if not number.isascii() or not number.isdecimal() or not 0 < len(number.lstrip("0")) <= _MOST_DIGITS:
        raise NotFound(f"Model Version (name={name[:60]}, version={number[:60]}) not found.", code="registry.no_version", hint="")
    found = transport.call(GetDownload(model=name, number=int(number)))
    if not found.owner:
        raise NotFound(f"The files of {name}:{number} are not kept here.", code="tracking.no_artifact", hint=f"Look at {found.source}.")
    path = checked(query.get("path", ""))
    return found.owner, f"{found.prefix}/{path}" if found.prefix and path else path


def _of_trace(request: Request, transport: LocalTransport) -> tuple[str, str]:
    query = request.query_params
    trace = transport.call(GetTrace(trace=shapes.trace_id(query.get("request_id", ""))))
    path = checked(query.get("path", ""))
    return trace.id, f"attachments/{path}" if path else "traces.json"


def _delete(transport: LocalTransport, path: str) -> Response:
    transport.allow(DeleteArtifact.permission)
    owner, inner = located(path)
    for item in (
        [inner.rstrip("/")] if inner else sorted({item.path.partition("/")[0] for item in transport.call(ListArtifacts(owner=owner))})
    ):
        transport.call(DeleteArtifact(owner=owner, path=item))
    return Response(b"{}", media_type=_JSON)


def _list(transport: LocalTransport, path: str) -> Response:
    owner, inner = located(path)
    files = shapes.file_rows(transport.call(ListArtifacts(owner=owner, under=inner)), inner)
    start = inner.strip("/") + "/" if inner.strip("/") else ""
    relative = [{**item, "path": item["path"].removeprefix(start)} for item in files]
    return Response(wire.encode(wire.without_empty({"files": relative})), media_type=_JSON)
