"""Who stands at the door: tokens from headers or the UI's cookie, and the checks that keep browsers honest.

A cookie travels by itself, so a request that carries one and changes something must come from our own pages.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rung.core.errors import Denied

COOKIE = "rung_token"
PROJECT_HEADER = "x-rung-project"
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_SAFE = {"GET", "HEAD", "OPTIONS"}
_LOOPBACK = {"127.0.0.1", "localhost", "[::1]", "::1"}


def token_of(connection: HTTPConnection) -> str:
    """The token of a request: bearer, the password of basic auth, or the UI's cookie; empty without any."""
    scheme, _, rest = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            raise Denied("The basic credentials cannot be read.", code="governance.bad_token", hint="Send rung:TOKEN in base64.") from None
    return connection.cookies.get(COOKIE, "")


def project_of(connection: HTTPConnection) -> str | None:
    """The project a request names, by header; None means the token's own."""
    return connection.headers.get(PROJECT_HEADER)


class Guard:
    """Refuses foreign Host headers and cross-site writes, and forbids browsers to guess the type of any answer."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts | _LOOPBACK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        reason = self._refusal(connection, scope["method"])
        if reason:
            await JSONResponse(
                {
                    "error": {
                        "kind": "denied",
                        "code": "server.foreign_origin",
                        "message": reason,
                        "hint": "Open the server by its own address.",
                    }
                },
                403,
            )(scope, receive, send)
            return

        async def sure(message: Message) -> None:
            if message["type"] == "http.response.start" and not any(name == _NOSNIFF[0] for name, _ in message["headers"]):
                message = {**message, "headers": [*message["headers"], _NOSNIFF]}
            await send(message)

        await self._app(scope, receive, sure)

    def _refusal(self, connection: HTTPConnection, method: str) -> str:
        host = connection.headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if name not in self._hosts and host not in self._hosts:
            return f"Host {host!r} is not one this server answers for."
        origin = connection.headers.get("origin")
        if method not in _SAFE and origin and urlsplit(origin).netloc != host:
            return f"A page of {origin!r} may not write here."
        if method not in _SAFE and connection.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
            return "A page of another site may not write here."
        return ""
