"""Who stands at the door: tokens from headers or the UI's cookie, and the checks that keep browsers honest.

A cookie travels by itself, so a request that carries one and changes something must come from our own pages.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from anyio import to_thread
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rung.app.platform import Caller, Platform
from rung.core.errors import Denied
from rung.storage.scope import Scope as StorageScope
from rung.tracking.records import LogBatch

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
        except ValueError:  # no base64, or not of a text
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


class WithoutAuth:
    """Lets requests that bring no token in as the holder of one; for a server on loopback that was started so."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._cookie = (b"cookie", f"{COOKIE}={token}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the session's cookie where neither a token nor a session is there."""
        if scope["type"] == "http":
            names = {name for name, _ in scope["headers"]}
            held = any(name == b"cookie" and f"{COOKIE}=".encode() in value for name, value in scope["headers"])
            if b"authorization" not in names and not held:
                scope = {**scope, "headers": [*(h for h in scope["headers"] if h[0] != b"cookie"), self._cookie]}
        await self._app(scope, receive, send)


class Projects:
    """Takes ``/p/<project>/`` from the front of any path: clients whose addresses have no place for a project put it there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name the project in a header, and pass on the rest of the path."""
        if scope["type"] == "http" and scope["path"].startswith("/p/"):
            project, _, rest = scope["path"][3:].partition("/")
            headers = [(name, value) for name, value in scope["headers"] if name != PROJECT_HEADER.encode()]
            raw = scope.get("raw_path", b"")
            scope = {
                **scope, "path": "/" + rest, "raw_path": b"/" + raw[3:].partition(b"/")[2],
                "headers": [*headers, (PROJECT_HEADER.encode(), project.encode("utf-8", "replace"))],
            }  # fmt: skip
        await self._app(scope, receive, send)


class RunDoor:
    """The door of the hot path: identity from a second's memory where it can, the right to write runs always."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def admitted(self, headers: list[tuple[bytes, bytes]]) -> tuple[StorageScope, Callable[[Any], Any]]:
        """The scope of the sender, and a function that asks the platform in its name. Raises Denied, NotFound."""
        connection = HTTPConnection({"type": "http", "headers": headers})
        token, project = token_of(connection), project_of(connection)
        caller = self._platform.known(token, project)
        if caller is None:
            caller = await to_thread.run_sync(self._platform.identify, token, project)
        self._platform.admit(LogBatch, caller)
        return self._platform.scope(caller), partial(_answer, self._platform, caller)


def _answer(platform: Platform, caller: Caller, request: Any) -> Any:
    return platform.answer(request, caller)
