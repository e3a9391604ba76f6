"""The table from error classes to HTTP statuses, and the one body every error has."""

from __future__ import annotations

import logging
import traceback

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rung.core.errors import RungError
from rung.core.ids import new_id

# Every error class has its status here; a test asks that all six do.
STATUS = {"not_found": 404, "already_exists": 409, "invalid": 422, "conflict": 409, "denied": 403, "unavailable": 503}
LOG = logging.getLogger("rung.server")


def status_of(error: RungError) -> int:
    """The HTTP status of an error; a bad token is 401, a missing right 403."""
    return 401 if error.code == "governance.bad_token" else STATUS.get(error.kind, 500)


def error_body(error: RungError) -> dict[str, dict[str, str | None]]:
    """The body that describes an error."""
    return {"error": {"kind": error.kind, "code": error.code, "message": error.message, "hint": error.hint}}


def error_response(request: Request, error: RungError) -> Response:
    """The answer to a request that failed, as msgpack to who asked for it and JSON to all others."""
    status = status_of(error)
    packed = "msgpack" in request.headers.get("accept", "")
    encode = msgspec.msgpack.encode if packed else msgspec.json.encode
    headers = {"www-authenticate": 'Bearer realm="rung"'} if status == 401 else {}  # noqa: PLR2004
    if status == 503:  # noqa: PLR2004
        headers["retry-after"] = "1"
    media = "application/msgpack" if packed else "application/json"
    return Response(encode(error_body(error)), status, headers, media)


async def on_error(request: Request, error: Exception) -> Response:
    """Handler of Rung's own errors."""
    if not isinstance(error, RungError):
        return await on_fault(request, error)
    return error_response(request, error)


async def on_fault(request: Request, error: Exception) -> Response:
    """The last resort: a defect of ours. The client sees a number, the log the story."""
    number = new_id()
    LOG.error("fault %s at %s %s\n%s", number, request.method, request.url.path, "".join(traceback.format_exception(error)))
    body = {
        "error": {
            "kind": "unavailable",
            "code": "server.fault",
            "message": f"The server failed; its log has fault {number}.",
            "hint": "Report it with that number.",
        }
    }
    return Response(msgspec.json.encode(body), 500, media_type="application/json")
