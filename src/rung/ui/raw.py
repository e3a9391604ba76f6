"""``/raw/<owner>/<path>``: the bytes of an artifact, for a frame or to be saved.

What is served here was written by whoever logged it. A policy of its own puts it into a sandbox without an origin: a
script in it can run, and can neither read this session nor reach anything.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from rung.core.errors import NotFound
from rung.tracking.artifacts import GetArtifact
from rung.ui.blocks import Visit
from rung.ui.pages.files import file_of
from rung.ui.previews import MOST_PICTURE, raw_type

_BYTES = "application/octet-stream"
SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:;"
    " font-src data:; connect-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)


def raw(request: Request, visit: Visit) -> Response:
    """The file, shown in its sandbox where its type may be shown, else to be saved. Raises NotFound, Denied, Invalid."""
    held = visit.ask(GetArtifact(owner=visit.path["owner"], path=visit.path["path"]))
    kind = raw_type(held.path)
    save = visit.query.get("save") == "1" or kind == _BYTES or (kind.startswith("image/") and held.size_bytes > MOST_PICTURE)
    name = quote(held.path.rsplit("/", 1)[-1])
    headers = {
        "content-security-policy": SANDBOX, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "private, no-cache",
        "cross-origin-resource-policy": "same-origin", "content-disposition": f"{'attachment' if save else 'inline'}; filename*=UTF-8''{name}",
    }  # fmt: skip
    file: Path | None = file_of(visit, held)
    if file is None:
        raise NotFound("These bytes are not on this machine.", code="ui.no_file", hint="Read them by the client: tracking.read_artifact.")
    return FileResponse(file, media_type=_BYTES if save else kind, headers=headers)
