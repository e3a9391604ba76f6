"""What a serving process answers beside inference: that it lives, whether it is ready and why not, and its numbers."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from rung.app.platform import Platform
from rung.core.errors import Denied, RungError
from rung.governance.rules import may
from rung.server.doors import project_of, token_of
from rung.serving.ending import DRAINING, REASON
from rung.serving.live import LiveTable
from rung.serving.statuses import status_of

if TYPE_CHECKING:
    from rung.server.node.home import NodeHome

_JSON = b"application/json"
_PLAIN = b"text/plain; charset=utf-8"


class Behind:
    """The application behind the data plane of ``rung serve``."""

    def __init__(self, platform: Platform, table: LiveTable, node: NodeHome | None = None) -> None:
        self._platform = platform
        self._table = table
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        status, media, body = await self._answered(scope)
        headers = [(b"content-type", media), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answered(self, scope: Scope) -> tuple[int, bytes, bytes]:
        if scope["method"] not in {"GET", "HEAD"}:
            return 404, _JSON, _error("There is nothing to send here: `rung serve` answers inference only.")
        match scope["path"]:
            case "/healthz" | "/health":
                return 200, _PLAIN, b"OK"
            case "/readyz":
                reasons = unready(self._table)
                told: dict[str, object] = {"ready": not reasons, "deployments": reasons} if reasons else {"ready": True}
                if self._node is not None:
                    told["platform"] = followed(self._node)
                if DRAINING.is_set():
                    told |= {"ready": False, "reason": REASON}
                return (200 if told["ready"] else 503), _JSON, json.dumps(told).encode()
            case "/metrics":
                return await asyncio.get_running_loop().run_in_executor(None, self._metrics, scope)
        return 404, _JSON, _error(f"There is no {scope['path']} here: `rung serve` answers inference only.")

    def _metrics(self, scope: Scope) -> tuple[int, bytes, bytes]:
        from rung.serving.exposing import CONTENT_TYPE, exposed  # noqa: PLC0415 - for who asks for numbers

        connection = HTTPConnection({"type": "http", "headers": scope["headers"]})
        try:
            caller = self._platform.identify(token_of(connection), project_of(connection))
            if not may(caller.role, "deployment:read"):
                raise Denied(f"{caller.name!r} may not read deployments.", code="governance.denied", hint="Ask an owner for a role.")
        except RungError as error:
            return status_of(error), _JSON, _error(str(error))
        return 200, CONTENT_TYPE.encode(), exposed()


def unready(table: LiveTable) -> dict[str, str]:
    """Deployments that do not answer, each with its reason; all of them while models are being loaded."""
    if not table.loaded:
        return {"*": "the models are being loaded"}
    return {name: error.message for (_, name), error in table.failed.items() if table.now(_, name) is None}


def followed(node: NodeHome) -> dict[str, object]:
    """How following the platform goes: a node is ready without it, and says since when."""
    status = node.status()
    if status is None:
        return {"heard": False}
    silent = time.time() - status.heard_at if status.heard_at else None
    told: dict[str, object] = {
        "url": status.url,
        "silent_s": None if silent is None else round(max(0.0, silent), 1),
        "unshipped_bytes": status.waiting_bytes,
    }
    return told | ({"trouble": status.trouble} if status.trouble else {})


def _error(message: str) -> bytes:
    return json.dumps({"error": message}).encode()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
