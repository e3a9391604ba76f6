"""Who stands at the door: tokens from headers or the UI's cookie, and the checks that keep browsers honest.

A cookie travels by itself, so a request that carries one and changes something must come from our own pages.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlsplit

from anyio import to_thread
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rung.app.platform import IDENTITY_TTL_S, Caller, Platform
from rung.core.digests import digest_of
from rung.core.errors import Denied
from rung.governance.rules import may
from rung.server.callers import Asking
from rung.storage.scope import Scope as StorageScope
from rung.tracking.records import LogBatch

COOKIE = "rung_token"
PROJECT_HEADER = "x-rung-project"
_PROJECT = PROJECT_HEADER.encode()
_REMEMBERED = 10_000
_RENEW_S = 0.5
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_SAFE = {"GET", "HEAD", "OPTIONS"}
_NOWHERE = urlsplit("")
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
        reason = self.refusal(connection, scope["method"])
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

    def refusal(self, connection: HTTPConnection, method: str) -> str:
        """Why a request is refused; empty when it is not."""
        host = connection.headers.get("host", "")
        name = (_split(f"//{host}") or _NOWHERE).hostname or ""
        if name not in self._hosts and host not in self._hosts and "*" not in self._hosts:
            return f"Host {host!r} is not one this server answers for."
        origin = connection.headers.get("origin")
        if method not in _SAFE and origin and (_split(origin) or _NOWHERE).netloc != host:
            return f"A page of {origin!r} may not write here."
        if method not in _SAFE and connection.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
            return "A page of another site may not write here."
        return ""


def _split(address: str) -> SplitResult | None:
    """An address in its parts; None for one that is none, say with half a bracket."""
    try:
        return urlsplit(address)
    except ValueError:
        return None


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


@dataclass(frozen=True, slots=True)
class Admitted:
    """A caller who may ask for predictions; ``token`` stands for its token where requests are counted."""

    project: str
    name: str
    token: str
    until: float
    caller: Caller


class PredictDoor:
    """The door of the data plane: the checks of Guard, WithoutAuth and the platform, in a few look-ups.

    A caller is remembered as long as the platform remembers it. One whose second is half over is asked for anew beside the answers.
    """

    def __init__(self, platform: Platform, hosts: frozenset[str], open_as: str = "") -> None:
        self._platform = platform
        self._guard = Guard(_nobody, hosts)
        self._hosts: set[bytes] = set()
        self._open_as = open_as
        self._held: dict[tuple[bytes | None, bytes | None, str | bytes | None], Admitted] = {}
        self._epoch = platform.epoch
        self._renewing: set[asyncio.Task[Admitted]] = set()

    def refuses(self, method: str, headers: Mapping[bytes, bytes]) -> bool:
        """Whether Guard would refuse."""
        host = headers.get(b"host", b"")
        if host in self._hosts and b"origin" not in headers and b"sec-fetch-site" not in headers:
            return False
        reason = self._guard.refusal(_connection(headers), method)
        if not reason and len(self._hosts) < _REMEMBERED:
            self._hosts.add(host)
        return bool(reason)

    def known(self, headers: Mapping[bytes, bytes], project: str | None) -> Admitted | None:
        """The caller, when it was admitted a moment ago."""
        if self._epoch != self._platform.epoch:
            self._held.clear()
            self._epoch = self._platform.epoch
        key = (headers.get(b"authorization"), headers.get(b"cookie"), project or headers.get(_PROJECT))
        held = self._held.get(key)
        if held is None:
            return None
        left = held.until - time.monotonic()
        if left < _RENEW_S and not self._renewing:
            task = asyncio.ensure_future(self.admitted(headers, project, anew=True))
            self._renewing.add(task)
            task.add_done_callback(self._renewed)
        return held if left > 0 else None

    async def admitted(self, headers: Mapping[bytes, bytes], project: str | None, *, anew: bool = False) -> Admitted:
        """The caller. Raises Denied without a good token or the right to predict, NotFound for a project it is no member of."""
        connection = _connection(headers)
        token = token_of(connection)
        if not token and self._open_as and b"authorization" not in headers:
            token = self._open_as
        named = project or project_of(connection)
        since, caller = await to_thread.run_sync(partial(self._platform.recalled, token, named, anew=anew))
        if not may(caller.role, "prediction:predict"):
            raise Denied(
                f"{caller.name!r} may not ask for predictions here.",
                code="governance.denied",
                hint="Ask an owner of the project for a role.",
            )
        found = Admitted(caller.project, caller.name, digest_of(token.encode())[-32:], since + IDENTITY_TTL_S, caller)
        if len(self._held) > _REMEMBERED:
            self._held.clear()
        self._held[headers.get(b"authorization"), headers.get(b"cookie"), project or headers.get(_PROJECT)] = found
        return found

    def asking(self, caller: Admitted) -> Asking:
        """The platform's door in the name of a caller."""
        return Asking(self._platform, caller.caller)

    def _renewed(self, task: asyncio.Task[Admitted]) -> None:
        self._renewing.discard(task)
        if not task.cancelled():
            task.exception()  # heard: whoever asks next is told


def _connection(headers: Mapping[bytes, bytes]) -> HTTPConnection:
    return HTTPConnection({"type": "http", "headers": list(headers.items())})


async def _nobody(scope: Scope, receive: Receive, send: Send) -> None:
    """The application behind a guard that is only asked for its opinion."""


def _answer(platform: Platform, caller: Caller, request: Any) -> Any:
    return platform.answer(request, caller)
