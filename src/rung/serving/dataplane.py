"""The inference hot path: an ASGI application in front of everything else, for the few paths that answer predictions.

It holds the live table and a token check, scores in a small thread pool, and never opens a transaction. Whatever it
does not know it passes on.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rung.core.errors import Denied, Invalid, NotFound, RungError
from rung.core.ids import new_id
from rung.serving import metrics
from rung.serving.answering import answer, failure
from rung.serving.codecs import oip, scoring
from rung.serving.live import LiveDeployment, LiveTable

LOG = logging.getLogger("rung.serving")
_STATUS = {"not_found": 404, "invalid": 400, "denied": 403, "conflict": 409, "already_exists": 409, "unavailable": 503}
Reply = tuple[int, bytes, dict[str, str]]
_JSON = {"content-type": "application/json"}


class Admitted(Protocol):
    """What the door says of a caller."""

    @property
    def project(self) -> str:
        """Id of the project it works in."""
        ...


class DataPlane:
    """Answers inference; everything else goes on to ``app``.

    Args:
        table: what is deployed, with models loaded.
        admit: the door: from headers to the caller, raising Denied without the right to predict.
        app: the application behind.
        threads: models scored side by side.
        max_body_mb: largest request body, MiB.
    """

    def __init__(
        self, table: LiveTable, admit: Callable[[Headers], Admitted], app: ASGIApp, *, threads: int = 2, max_body_mb: int = 64
    ) -> None:
        self._table = table
        self._admit = admit
        self._app = app
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rung-predict")
        self._limit = max_body_mb << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http" or not _ours(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            body = await _body(receive, self._limit) if scope["method"] == "POST" else b""
            status, content, extra = await asyncio.get_running_loop().run_in_executor(self._pool, self._reply, scope, headers, body)
        except RungError as error:
            status, content, extra = _error(error)
        sent = [(k.encode(), v.encode()) for k, v in {**extra, "content-length": str(len(content))}.items()]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": content})

    def close(self) -> None:
        """Finish what is being answered, then seal the logs."""
        self._pool.shutdown()
        self._table.close()

    def _reply(self, scope: Scope, headers: Headers, body: bytes) -> Reply:
        try:
            return self._route(scope, headers, body)
        except RungError as error:
            return _error(error)
        except Exception:
            number = new_id()
            LOG.exception("fault %s at %s", number, scope["path"])
            return 500, msgspec.json.encode({"error": f"The server failed; its log has fault {number}."}), _JSON

    def _route(self, scope: Scope, headers: Headers, body: bytes) -> Reply:
        path, method = scope["path"].rstrip("/"), scope["method"]
        if path in {"/v2/health/live", "/v2/health/ready", "/v2"} and method not in {"GET", "HEAD"}:
            return 405, msgspec.json.encode({"error": f"{method} is not for this path."}), {**_JSON, "allow": "GET"}
        if path in {"/v2/health/live", "/v2/health/ready"}:
            return 200, msgspec.json.encode({path.rpartition("/")[2]: True}), _JSON
        if path == "/v2":
            extensions = ["binary_tensor_data"]
            return 200, msgspec.json.encode({"name": "rung", "version": "0.1.0", "extensions": extensions}), _JSON
        if path == "/ping":
            return 200, b"\n", {"content-type": "text/plain"}
        caller = self._admit(headers)
        project, parts = caller.project, path.strip("/").split("/")
        if parts[0] == "v2" and parts[1:2] == ["models"]:
            return self._open_inference(project, parts[2:], method, headers, body)
        name = parts[1] if parts[0] == "deployments" else self._only(project, scope)
        if parts[0] == "deployments" and parts[2:] == ["ping"]:
            self._table.get(project, name)
            return 200, b"\n", {"content-type": "text/plain"}
        if method != "POST":
            return 405, msgspec.json.encode({"error": "Send POST."}), {**_JSON, "allow": "POST"}
        live = self._table.get(project, name)
        return self._measured(live, lambda: self._invoke(live, headers, _inflated(headers, body)))

    def _open_inference(self, project: str, parts: list[str], method: str, headers: Headers, body: bytes) -> Reply:
        if not parts:
            names = self._table.names(project)
            return 200, msgspec.json.encode({"models": names}), _JSON
        live = self._table.get(project, parts[0])
        rest = parts[1:]
        if rest[:1] == ["versions"] and len(rest) > 1:
            live, rest = _pinned(live, rest[1]), rest[2:]
        match (rest, method):
            case ([], "GET"):
                return 200, msgspec.json.encode(oip.metadata(parts[0], live.stable.version)), _JSON
            case (["ready"], "GET"):
                return 200, msgspec.json.encode({"name": parts[0], "ready": True}), _JSON
            case (["infer"], "POST"):
                return self._measured(live, lambda: self._infer(live, headers, _inflated(headers, body)))
            case ([] | ["ready"] | ["infer"], _):
                return 405, msgspec.json.encode({"error": f"{method} is not for this path."}), _JSON
        raise NotFound(f"There is no path /v2/models/{'/'.join(parts)}.", code="serving.no_path", hint="Known: /, /ready, /infer.")

    def _infer(self, live: LiveDeployment, headers: Headers, body: bytes) -> Reply:
        length = headers.get(oip.BINARY_HEADER)
        if length is not None and not length.isdigit():
            raise Invalid(f"{oip.BINARY_HEADER} is {length!r}.", code="oip.bad_header", hint="Send the length of the JSON part.")
        asked, request = oip.decode(body, live.stable.version, None if length is None else int(length))
        found = answer(live, asked.rows, ids=asked.ids, times_us=asked.times_us)
        content, head = oip.encode(found, request, live.stable.version)
        metrics.ROWS.labels(live.deployment.name).inc(asked.rows.height)
        if head is None:
            return 200, content, _JSON
        return 200, content, {"content-type": "application/octet-stream", oip.BINARY_HEADER: str(head)}

    def _invoke(self, live: LiveDeployment, headers: Headers, body: bytes) -> Reply:
        media = headers.get("content-type", "").partition(";")[0].strip().lower()
        asked = scoring.decode(body, media, live.stable.version)
        found = answer(live, asked.rows, ids=asked.ids, times_us=asked.times_us)
        metrics.ROWS.labels(live.deployment.name).inc(asked.rows.height)
        return 200, scoring.encode(found, live.stable.version), _JSON

    def _measured(self, live: LiveDeployment, work: Callable[[], Reply]) -> Reply:
        name = live.deployment.name
        with metrics.SECONDS.labels(name).time():
            try:
                reply = work()
            except RungError as error:
                metrics.REQUESTS.labels(name, str(_STATUS.get(error.kind, 500))).inc()
                raise
            except Exception:
                metrics.REQUESTS.labels(name, "500").inc()
                live.log.append(failure(live, live.stable, 1, 0))
                raise
        metrics.REQUESTS.labels(name, "200").inc()
        return reply

    def _only(self, project: str, scope: Scope) -> str:
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("deployment")
        names = self._table.names(project)
        if asked:
            return str(asked[0])
        if len(names) != 1:
            raise Invalid(
                f"/invocations serves one deployment; the project has {len(names)}.",
                code="serving.which_deployment",
                hint=f"Use /deployments/NAME/invocations with one of: {', '.join(names) or 'none yet'}.",
            )
        return names[0]


def _pinned(live: LiveDeployment, number: str) -> LiveDeployment:
    """The deployment with all traffic on one of the versions it serves. Raises NotFound."""
    found = next((route for route in (live.stable, live.other) if route is not None and str(route.version.number) == number), None)
    if found is None:
        raise NotFound(
            f"Deployment {live.deployment.name!r} does not serve version {number}.",
            code="serving.no_version",
            hint=f"It serves {live.stable.version.number}.",
        )
    return replace(live, stable=found, other=None)


def _ours(path: str) -> bool:
    if path in {"/invocations", "/ping", "/v2"} or path.startswith("/v2/"):
        return True
    parts = path.strip("/").split("/")
    return parts[0] == "deployments" and len(parts) == 3 and parts[2] in {"invocations", "ping"}  # noqa: PLR2004 - /deployments/NAME/VERB


async def _body(receive: Receive, limit: int) -> bytes:
    parts, size = [], 0
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise Invalid("The client went away.", code="serving.disconnected")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise Invalid(f"The body is larger than {limit >> 20} MiB.", code="request.too_large", hint="Send smaller batches.")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _inflated(headers: Headers, body: bytes) -> bytes:
    coding = headers.get("content-encoding", "")
    if coding in {"", "identity"}:
        return body
    try:
        if coding == "gzip":
            return gzip.decompress(body)
        if coding == "deflate":
            return zlib.decompress(body)
    except (OSError, EOFError, zlib.error) as error:
        raise Invalid(f"The body is not {coding}: {error}.", code="request.encoding", hint="Send it plain.") from None
    raise Invalid(f"Content-Encoding {coding!r} is not understood.", code="request.encoding", hint="Send gzip, deflate, or plain.")


def _error(error: RungError) -> Reply:
    status = 401 if isinstance(error, Denied) and error.code == "governance.bad_token" else _STATUS.get(error.kind, 500)
    return status, msgspec.json.encode({"error": str(error)}), _JSON
