"""How a request travels: over HTTP to a server, or as a function call to the embedded platform in the home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from rung.core.errors import Invalid, RungError, Unavailable, rebuilt
from rung.core.records import checked, prepared
from rung.core.requests import Request, answer_type
from rung.core.settings import Settings
from rung.core.wire import WireErrorBody

A = TypeVar("A")
_PACK = "application/msgpack"
_CHUNK = 1 << 20
_PARTIAL, _PAST_THE_END = 206, 416


class Transport(Protocol):
    """Carries a request to a platform and its answer back; every transport gives the same answers and errors."""

    def call(self, request: Request[A]) -> A:
        """Answer a request. Raises the six errors of ``rung.core.errors``."""
        ...

    def put_blob(self, source: bytes | Path) -> str:
        """Keep bytes, or a file's bytes; return their digest."""
        ...

    def get_blob(self, digest: str) -> bytes:
        """The bytes of a digest. Raises NotFound."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


class HttpTransport:
    """Speaks to a server; msgpack on the wire, so that NaN and instants arrive as they left. Raises Invalid for what can be no address or no token."""

    def __init__(self, url: str, token: str, project: str | None = None, *, timeout_s: float = 120.0) -> None:
        import httpx  # noqa: PLC0415 - a fifth of a second that the embedded client need not pay

        self.url = url.rstrip("/")
        self.token = token.strip()
        self.project = project
        if not (self.token.isascii() and self.token.isprintable()):
            raise Invalid(
                "The token holds characters that no token has.", code="transport.bad_token",
                hint="Set RUNG_TOKEN to a token as `rung token create` shows it.",
            )  # fmt: skip
        headers = {"accept": _PACK}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        if project:
            headers["x-rung-project"] = project
        try:
            self.http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout_s)
        except httpx.InvalidURL as error:
            raise Invalid(
                f"{url!r} is no address of a server: {error}.", code="transport.bad_url", hint="Set RUNG_URL, e.g. to http://127.0.0.1:7474.",
            ) from None  # fmt: skip

    def call(self, request: Request[A]) -> A:
        """Answer a request. Raises the six errors, Unavailable when the server cannot be reached."""
        kind = type(request)
        body = msgspec.msgpack.encode(checked(request, kind))
        answer = self._send("POST", f"/api/{kind.operation}", content=body, headers={"content-type": _PACK})
        return _decoded(answer.content, answer_type(kind))  # type: ignore[no-any-return]

    def put_blob(self, source: bytes | Path) -> str:
        """Upload bytes or a file; return their digest."""
        content = source if isinstance(source, bytes) else _chunks(source)
        answer = self._send("PUT", "/api/blobs", content=content, headers={"content-type": "application/octet-stream"})
        return _decoded(answer.content, str)  # type: ignore[no-any-return]

    def get_blob(self, digest: str) -> bytes:
        """Download bytes by digest. Raises NotFound."""
        content: bytes = self._send("GET", f"/api/blobs/{digest}").content
        return content

    def download(self, digest: str, path: Path) -> None:
        """Download bytes by digest to a file, going on where an earlier attempt at the same file ended. Raises NotFound."""
        import httpx  # noqa: PLC0415 - see __init__

        begun = path.stat().st_size if path.exists() else 0
        headers = {"range": f"bytes={begun}-", "if-range": f'"{digest}"'} if begun else {}
        try:
            with self.http.stream("GET", f"/api/blobs/{digest}", headers=headers) as answer:
                if answer.status_code == _PAST_THE_END and begun:
                    return  # all of it is here
                if not answer.is_success:
                    raise _error(answer.read(), answer.status_code)
                with path.open("ab" if answer.status_code == _PARTIAL else "wb") as file:
                    for chunk in answer.iter_bytes(_CHUNK):
                        file.write(chunk)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def _unreachable(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"{self.url} does not answer: {str(error).rstrip('.') or type(error).__name__}.", code="transport.unreachable",
            hint="Check RUNG_URL, and that the server runs.",
        )  # fmt: skip

    def _send(self, method: str, path: str, **parts: Any) -> Any:
        import httpx  # noqa: PLC0415 - see __init__

        try:
            answer = self.http.request(method, path, **parts)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        if answer.is_success:
            return answer
        raise _error(answer.content, answer.status_code)


def open_transport(settings: Settings, *, step_in: str = "") -> Transport:
    """HTTP to ``settings.url`` when there is one, else the embedded platform in the home; for a step, in the project of its run."""
    if settings.url:
        return HttpTransport(settings.url, settings.token, step_in or settings.named_project)
    from rung.app.local import local_transport, service_transport  # noqa: PLC0415 - the platform is loaded only when it is embedded

    return service_transport(settings, step_in) if step_in else local_transport(settings)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _decoded(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(body, type=prepared(kind))
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise Unavailable(
            f"The server's answer cannot be read: {error}.", code="transport.bad_answer", hint="Client and server should be of one version."
        ) from None


def _error(body: bytes, status: int) -> RungError:
    for decode in (msgspec.msgpack.decode, msgspec.json.decode):
        try:
            error = decode(body, type=prepared(WireErrorBody)).error
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError):
            continue
        return rebuilt(error.kind, error.message, code=error.code, hint=error.hint)
    return Unavailable(f"The server answered {status} without saying why.", code="transport.bad_answer", hint="Is this a Rung server?")
