"""``/raw``, ``/outputs`` and ``/step-logs``: bytes of artifacts, of what steps made and printed, for a frame or to be saved.

What is served here was written by whoever logged it. A policy of its own puts it into a sandbox without an origin: a
script in it can run, and can neither read this session nor reach anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from rung.core.errors import NotFound
from rung.pipelines.records import LogChunk, StepLog
from rung.tracking.artifacts import GetArtifact
from rung.ui.blocks import Visit
from rung.ui.pages.files import file_of
from rung.ui.pages.outputs import asked_output, file_name, lasting_file, local_file, output_type
from rung.ui.previews import MOST_PICTURE, raw_type

_BYTES = "application/octet-stream"
_PART = 1 << 20
SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:;"
    " font-src data:; connect-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)


def raw(request: Request, visit: Visit) -> Response:
    """The file, shown in its sandbox where its type may be shown, else to be saved. Raises NotFound, Denied, Invalid."""
    held = visit.ask(GetArtifact(owner=visit.path["owner"], path=visit.path["path"]))
    kind = raw_type(held.path)
    save = visit.query.get("save") == "1" or kind == _BYTES or (kind.startswith("image/") and held.size_bytes > MOST_PICTURE)
    headers = _headers(held.path.rsplit("/", 1)[-1], save=save)
    file: Path | None = file_of(visit, held)
    if file is None:
        raise NotFound("These bytes are not on this machine.", code="ui.no_file", hint="Read them by the client: tracking.read_artifact.")
    return FileResponse(file, media_type=_BYTES if save else kind, headers=headers)


def output(request: Request, visit: Visit) -> Response:
    """An output of a step, or of an item of a map. Raises NotFound, Denied."""
    held = asked_output(visit)
    kind = output_type(held)
    save = visit.query.get("save") == "1" or kind == _BYTES
    headers = _headers(file_name(held), save=save)
    file = lasting_file(visit, held)
    if file is not None:
        return FileResponse(file, media_type=_BYTES if save else kind, headers=headers)
    with local_file(visit, held) as kept:
        return Response(kept.read_bytes(), media_type=_BYTES if save else kind, headers=headers)


def step_log(request: Request, visit: Visit) -> Response:
    """What a step printed, whole and as it was printed, to be saved. Raises NotFound, Denied."""
    run, step, attempt = visit.path["id"], visit.path["step"], visit.number("attempt") or None

    def part(offset: int) -> LogChunk:
        return visit.ask(StepLog(pipeline_run=run, step=step, attempt=attempt, offset=offset, limit_bytes=_PART))

    first = part(0)

    def parts() -> Iterator[bytes]:
        chunk = first
        while chunk.text:
            yield chunk.text.encode()
            if chunk.next_offset >= first.size_bytes:
                return
            chunk = part(chunk.next_offset)

    return StreamingResponse(parts(), media_type="text/plain; charset=utf-8", headers=_headers(f"{step}.log", save=True))


def _headers(name: str, *, save: bool) -> dict[str, str]:
    return {
        "content-security-policy": SANDBOX, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "private, no-cache",
        "cross-origin-resource-policy": "same-origin", "content-disposition": f"{'attachment' if save else 'inline'}; filename*=UTF-8''{quote(name)}",
    }  # fmt: skip
