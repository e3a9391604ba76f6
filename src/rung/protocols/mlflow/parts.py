"""Uploads in parts: large files in pieces of their own, each to an address that carries its leave in itself.

The id of an upload is 192 random bits and the only key to its folder below the home's ``incoming``; whoever holds it may
send parts until it expires. To begin, to complete and to abort one needs a token. Aborted and expired uploads leave nothing.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import blake3
import msgspec
from anyio import to_thread
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rung.app.local import LocalTransport
from rung.app.platform import Platform
from rung.core.errors import Invalid, NotFound, RungError, Unavailable
from rung.core.records import Record, prepared
from rung.protocols.mlflow import wire
from rung.protocols.mlflow.artifacts import PROXY, kept, named
from rung.protocols.mlflow.routes import Stream, error_response, read_body
from rung.protocols.streams import LONGEST_UPLOAD_S, incoming_folder, received, sweep
from rung.tracking.artifacts import ListArtifacts, LogArtifact

if TYPE_CHECKING:
    from rung.protocols.mlflow.table import MakeTransport

_ID = re.compile(r"[A-Za-z0-9_-]{32}")
_PREFIX = "parts-"
_MANIFEST = "upload.json"
_MOST_PARTS = 10_000
_PIECE = 8 << 20
_JSON = "application/json"
STREAMS = (
    Stream("POST", f"{PROXY}/mpu/create/{{path}}", "begins an upload in parts to a folder", (LogArtifact, ListArtifacts)),
    Stream("POST", f"{PROXY}/mpu/create", "the same at the root", (LogArtifact, ListArtifacts)),
    Stream("PUT", f"{PROXY}/mpu/parts/{{upload_id}}/{{number}}", "takes one part; the upload's id is its leave"),
    Stream("POST", f"{PROXY}/mpu/complete/{{path}}", "makes the parts a file", (LogArtifact,)),
    Stream("POST", f"{PROXY}/mpu/complete", "the same at the root", (LogArtifact,)),
    Stream("POST", f"{PROXY}/mpu/abort/{{path}}", "throws the parts away", (LogArtifact,)),
    Stream("POST", f"{PROXY}/mpu/abort", "the same at the root", (LogArtifact,)),
)


class Upload(Record):
    """An upload that was begun: what it will become, and for whom."""

    project: str
    owner: str
    path: str
    parts: int
    expires_at: float


class CreateBody(wire.Body):
    """A file to come in parts; ``path`` is its name on the client's machine."""

    path: str
    num_parts: Annotated[int, Meta(ge=1, le=_MOST_PARTS)] = 1


class PartBody(wire.Body):
    """A part that was sent, with the tag it was answered."""

    part_number: int
    etag: str | None = None


class CompleteBody(wire.Body):
    """All parts are there."""

    path: str
    upload_id: str
    parts: tuple[PartBody, ...] | None = ()


class AbortBody(wire.Body):
    """The upload is given up."""

    path: str
    upload_id: str


def routes(make_transport: MakeTransport) -> list[BaseRoute]:
    """Begin, send, complete, abort."""

    def step(work: Callable[[Request, LocalTransport, bytes], object]) -> Callable[[Request], object]:
        async def answer(request: Request) -> Response:
            def asked(raw: bytes) -> Response:
                transport = make_transport(request)
                transport.allow(LogArtifact.permission)
                return Response(wire.encode(work(request, transport, raw)), media_type=_JSON)

            try:
                return await to_thread.run_sync(asked, await read_body(request))
            except RungError as error:
                return error_response(error)
            except ClientDisconnect:
                return Response(status_code=499)  # nobody reads it

        return answer

    async def part(request: Request) -> Response:
        platform = make_transport(request).platform
        try:
            tag = await _receive(request, platform, request.path_params["upload_id"], request.path_params["number"])
        except RungError as error:
            return error_response(error)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        return Response(b"{}", headers={"etag": tag}, media_type=_JSON)

    found: list[BaseRoute] = []
    for prefix in (PROXY, PROXY.replace("/api/", "/ajax-api/")):
        found.append(Route(f"{prefix}/mpu/parts/{{upload_id}}/{{number}}", part, methods=["PUT"]))
        for name, work in (("create", _create), ("complete", _complete), ("abort", _abort)):
            found.append(Route(f"{prefix}/mpu/{name}", step(work), methods=["POST"]))
            found.append(Route(f"{prefix}/mpu/{name}/{{path:rest}}", step(work), methods=["POST"]))
    return found


def _create(request: Request, transport: LocalTransport, raw: bytes) -> dict[str, object]:
    body = wire.decode_json(raw, CreateBody)
    owner, path = _target(request, body.path)
    transport.call(ListArtifacts(owner=owner, under=path))  # asks for the owner before anything is sent
    sweep(transport.platform)
    upload_id = secrets.token_urlsafe(24)
    upload = Upload(
        project=transport.caller().project, owner=owner, path=path, parts=body.num_parts, expires_at=time.time() + LONGEST_UPLOAD_S
    )  # fmt: skip
    folder = _folder(transport.platform, upload_id)
    folder.mkdir(mode=0o700)
    (folder / _MANIFEST).write_bytes(msgspec.json.encode(upload))
    base = f"{str(request.base_url).rstrip('/')}{PROXY}/mpu/parts/{upload_id}"
    credentials = [{"url": f"{base}/{number}", "part_number": number, "headers": {}} for number in range(1, body.num_parts + 1)]
    return {"upload_id": upload_id, "credentials": credentials}


async def _receive(request: Request, platform: Platform, upload_id: str, number: str) -> str:
    folder = _folder(platform, upload_id)
    upload = await to_thread.run_sync(_upload, folder)
    if not number.isascii() or not number.isdecimal() or len(number) > len(str(_MOST_PARTS)) or not 1 <= int(number) <= upload.parts:
        raise Invalid(f"Part {number[:20]!r} is none of 1 to {upload.parts}.", code="mlflow.bad_part", hint="Use the addresses given.")
    incoming = folder / f"incoming-{secrets.token_hex(8)}"
    try:
        await received(request, incoming)
        return await to_thread.run_sync(_settle, folder, incoming, int(number))
    except Unavailable:
        if not folder.is_dir():  # ended before the first byte was written
            raise _gone() from None
        raise
    finally:
        incoming.unlink(missing_ok=True)


def _settle(folder: Path, incoming: Path, number: int) -> str:
    """Put a part in its place, in that of an earlier attempt too; its tag stands in its name."""
    try:
        tag = blake3.blake3().update_mmap(incoming).hexdigest()
        earlier = list(folder.glob(f"{number:05}-*"))
        incoming.rename(folder / f"{number:05}-{tag}")
    except OSError:  # the upload ended while the part was on its way
        raise _gone() from None
    for path in earlier:
        if not path.name.endswith(tag):
            path.unlink(missing_ok=True)
    return f'"{tag}"'


def _complete(request: Request, transport: LocalTransport, raw: bytes) -> dict[str, object]:
    body = wire.decode_json(raw, CompleteBody)
    folder = _mine(request, transport, body.path, body.upload_id)
    upload = _upload(folder)
    held = {path.name for path in folder.glob("[0-9]*-*")}  # of a part that came twice at once there may be two, and the tag says which
    named_tags = {part.part_number: (part.etag or "").strip('"') for part in body.parts or ()}
    wanted = [f"{number:05}-{named_tags.get(number, '')}" for number in range(1, upload.parts + 1)]
    for number, name in enumerate(wanted, 1):
        if name not in held:
            if not folder.is_dir():  # completed a moment ago
                raise _gone()
            raise Invalid(
                f"Part {number} of {upload.parts} is missing, or not the one that was sent.", code="mlflow.bad_part", hint="Send it again."
            )
    taken = _taken(folder)
    try:
        kept(transport, upload.owner, upload.path, _joined([taken / name for name in wanted]))
    finally:
        shutil.rmtree(taken, ignore_errors=True)
    return {}


def _abort(request: Request, transport: LocalTransport, raw: bytes) -> dict[str, object]:
    body = wire.decode_json(raw, AbortBody)
    shutil.rmtree(_taken(_mine(request, transport, body.path, body.upload_id)), ignore_errors=True)
    return {}


def _taken(folder: Path) -> Path:
    """The folder where no further part comes to, and that of two who end an upload at once one finds. Raises NotFound."""
    taken = folder.with_name(f"{folder.name}-taken")
    try:
        folder.rename(taken)
    except OSError:
        raise _gone() from None
    return taken


def _joined(parts: list[Path]) -> Path:
    """The first part with the others behind it."""
    try:
        with parts[0].open("ab") as whole:
            for part in parts[1:]:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, whole, _PIECE)
                part.unlink()
    except OSError as error:
        raise Unavailable(
            f"The parts cannot be joined: {os.strerror(error.errno or 0)}.", code="blobs.unwritable", hint="Free some space."
        ) from None
    return parts[0]


def _target(request: Request, local: str) -> tuple[str, str]:
    folder, name = request.path_params.get("path", ""), re.split(r"[/\\]", local)[-1]
    return named(f"{folder.rstrip('/')}/{name}" if folder else name)


def _mine(request: Request, transport: LocalTransport, local: str, upload_id: str) -> Path:
    """The folder of an upload that was begun here for the same file. Raises NotFound."""
    folder = _folder(transport.platform, upload_id)
    upload = _upload(folder)
    if upload.project != transport.caller().project or (upload.owner, upload.path) != _target(request, local):
        raise _gone()
    return folder


def _upload(folder: Path) -> Upload:
    try:
        upload = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=prepared(Upload))
    except FileNotFoundError:
        raise _gone() from None
    if upload.expires_at < time.time():
        shutil.rmtree(folder, ignore_errors=True)
        raise _gone()
    return upload


def _folder(platform: Platform, upload_id: str) -> Path:
    if not _ID.fullmatch(upload_id):
        raise _gone()
    return incoming_folder(platform) / f"{_PREFIX}{upload_id}"


def _gone() -> NotFound:
    return NotFound("There is no such upload, or it has ended.", code="mlflow.no_upload", hint="Begin it anew.")
