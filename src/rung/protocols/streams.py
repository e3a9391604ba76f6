"""Bytes in and out over HTTP, for every route that carries blobs: large pieces, ranges, nothing left of what broke off."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, MalformedRangeHeader, Response

from rung.app.platform import Platform
from rung.core.errors import Unavailable

_PIECE = 4 << 20
LONGEST_UPLOAD_S = 24 * 3600


class Download(FileResponse):
    """A file, or ranges of it, in large pieces. A range that cannot be read is no range, as RFC 9110 has it."""

    chunk_size = 1 << 20

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            return []


def download(platform: Platform, digest: str, media_type: str, headers: Mapping[str, str], asked: Headers) -> Response:
    """The answer with a blob's bytes, or with none for who holds them; small whole ones without a detour over a file.

    Args:
        platform: whose blobs they are.
        digest: names the bytes, and is their entity tag: a download that broke off goes on only in the same ones.
        media_type: what they are said to be.
        headers: go into the answer.
        asked: the headers of the request, which may want a range, or the bytes only if they changed.

    Raises:
        NotFound: there is no such blob.
    """
    tag = f'"{digest}"'
    headers = {**headers, "etag": tag, "accept-ranges": "bytes"}
    if tag in asked.get("if-none-match", "") and platform.blobs.exists(digest):
        return Response(status_code=304, headers=headers)
    size = getattr(platform.blobs, "size", None)
    if "range" not in asked and size is not None and size(digest) < _PIECE:
        return Response(platform.blobs.get(digest), 200, headers, media_type)
    return Download(platform.blobs.url(digest), media_type=media_type, headers=headers)


def incoming_folder(platform: Platform) -> Path:
    """Where uploads are written down until they are whole."""
    folder = platform.settings.home_path / "incoming"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def sweep(platform: Platform) -> None:
    """Remove what is left of uploads that were never ended, or broke off with the server."""
    before = time.time() - LONGEST_UPLOAD_S
    for path in incoming_folder(platform).iterdir():
        with suppress(FileNotFoundError):  # ended, or swept by another server, in this moment
            if path.stat().st_mtime < before:
                shutil.rmtree(path, ignore_errors=True)


async def received(request: Request, path: Path) -> None:
    """Write a body to a file in large pieces. Raises ClientDisconnect when it breaks off, Unavailable when the disk refuses."""
    try:
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
    except OSError as error:
        raise Unavailable(
            f"The upload cannot be written: {error.strerror}.", code="blobs.unwritable", hint="Free some space, or check the home's rights."
        ) from None
