"""Bytes in and out over HTTP, for every route that carries blobs: large pieces, ranges, nothing left of what broke off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from rung.app.platform import Platform

_PIECE = 4 << 20


class Download(FileResponse):
    """A file, or ranges of it, in large pieces."""

    chunk_size = 1 << 20


def download(platform: Platform, digest: str, media_type: str, headers: Mapping[str, str], *, ranged: bool = True) -> Response:
    """The answer with a blob's bytes; small whole ones without a detour over a file. Raises NotFound."""
    size = getattr(platform.blobs, "size", None)
    if not ranged and size is not None and size(digest) < _PIECE:
        return Response(platform.blobs.get(digest), 200, {**headers, "accept-ranges": "bytes"}, media_type)
    return Download(platform.blobs.url(digest), media_type=media_type, headers=dict(headers))


def incoming_folder(platform: Platform) -> Path:
    """Where uploads are written down until they are whole."""
    folder = platform.settings.home_path / "incoming"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


async def received(request: Request, path: Path) -> None:
    """Write a body to a file in large pieces. Raises ClientDisconnect when it breaks off."""
    with path.open("wb") as file:
        gathered: list[bytes] = []
        size = 0
        async for part in request.stream():
            gathered.append(part)
            size += len(part)
            if size >= _PIECE:
                await to_thread.run_sync(file.writelines, gathered)
                gathered, size = [], 0
        file.writelines(gathered)
