"""Rows of the MLflow protocol and how they become routes.

A row declares the requests it becomes, so that a test can walk from every foreign route to a permission at the door.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs

from anyio import to_thread
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from rung.core.errors import Invalid, RungError
from rung.core.requests import Request
from rung.protocols.mlflow import wire
from rung.protocols.mlflow.errors import told

A = TypeVar("A")
Answer = dict[str, Any]
_JSON = "application/json"
_MOST_BYTES = 64 << 20


class _Rest(PathConvertor):
    """The rest of a path, line breaks too; Starlette's own stops at them, and its 404 is not MLflow's."""

    regex = r"[\s\S]*"


register_url_convertor("rest", _Rest())


class Call(Protocol):
    """Asks the platform in the name of whoever sent the foreign request."""

    def __call__(self, request: Request[A]) -> A: ...


class Asker(Protocol):
    """The platform as seen by whoever sent a foreign request."""

    @property
    def call(self) -> Call:
        """Answers a request."""
        ...

    def allow(self, permission: str) -> None:
        """Raise Denied unless the sender holds a permission."""
        ...


Translate = Callable[[Any, Call], Answer]
MakeAsker = Callable[[HttpRequest], Asker]


@dataclass(frozen=True)
class Row:
    """One foreign route.

    Args:
        methods: HTTP methods; GET bodies come from the query string, all others from JSON.
        path: below ``/api/2.0/mlflow`` and ``/ajax-api/2.0/mlflow``; with a leading ``/api/`` it stands as it is.
            Path parameters are fields of the body.
        body: what is decoded; ``becomes``: the requests it may turn into; ``translate``: the translation.
    """

    methods: tuple[str, ...]
    path: str
    body: type[wire.Body]
    becomes: tuple[type[Request[Any]], ...]
    translate: Translate


@dataclass(frozen=True)
class Stream:
    """One foreign route that is no row, because it carries bytes or tells nothing that belongs to a project.

    Args:
        methods: HTTP methods, separated by a space.
        path: as it stands, parameters in braces; what begins with ``/api/`` is there under ``/ajax-api/`` too.
        what: what it answers, for the list of routes.
        becomes: the requests it may turn into.
    """

    methods: str
    path: str
    what: str
    becomes: tuple[type[Request[Any]], ...] = ()


def row(methods: str, path: str, body: type[wire.Body], *becomes: type[Request[Any]]) -> Callable[[Translate], Row]:
    """Make a row of a translation; ``methods`` are separated by a space."""

    def made(translate: Translate) -> Row:
        return Row(tuple(methods.split()), path, body, becomes, translate)

    return made


def starlette_routes(rows: Iterable[Row], make_asker: MakeAsker) -> list[BaseRoute]:
    """Starlette's routes of rows, under both of MLflow's prefixes."""
    routes: list[BaseRoute] = []
    for item in rows:
        endpoint = _endpoint(item, make_asker)
        paths = [item.path, "/ajax" + item.path.replace("/api/", "-api/", 1)] if item.path.startswith("/api/") else [
            f"/api/2.0/mlflow{item.path}", f"/ajax-api/2.0/mlflow{item.path}"
        ]  # fmt: skip
        routes += [Route(path, endpoint, methods=list(item.methods)) for path in paths]
    return routes


def error_response(error: RungError) -> Response:
    """An error as MLflow's clients read it."""
    status, body = told(error)
    headers = {}
    if status == 401:  # noqa: PLR2004
        headers["www-authenticate"] = 'Bearer realm="rung"'
    if status == 503:  # noqa: PLR2004
        headers["retry-after"] = "1"
    return Response(wire.encode(body), status, headers, _JSON)


def _endpoint(item: Row, make_asker: MakeAsker) -> Callable[[HttpRequest], Any]:
    async def answer(request: HttpRequest) -> Response:
        try:
            raw = b"" if request.method == "GET" else await read_body(request)
            return await to_thread.run_sync(_answer, item, make_asker, request, raw)
        except RungError as error:
            return error_response(error)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it

    return answer


def _answer(item: Row, make_asker: MakeAsker, request: HttpRequest, raw: bytes) -> Response:
    asker = make_asker(request)
    for permission in {kind.permission for kind in item.becomes}:  # before the body is looked at, and even if it asks for nothing
        asker.allow(permission)
    if request.method == "GET" or not raw:
        query = parse_qs(request.url.query, keep_blank_values=True)
        body = wire.decode_query({**query, **{k: [v] for k, v in request.path_params.items()}}, item.body)
    elif request.path_params:
        body = wire.decode_json(_with(raw, request.path_params), item.body)
    else:
        body = wire.decode_json(raw, item.body)
    return Response(wire.encode(item.translate(body, asker.call)), media_type=_JSON)


def _with(raw: bytes, path_params: dict[str, Any]) -> bytes:
    """The body with the path's parameters as its last fields, which win over fields of the same name."""
    stripped = raw.strip()
    if not (stripped.startswith(b"{") and stripped.endswith(b"}")):
        raise Invalid("The body is no JSON object.", code="mlflow.bad_json", hint="Send an object.")
    inside, extra = stripped[1:-1].strip(), wire.encode(path_params)[1:-1]
    return b"{" + inside + (b"," if inside else b"") + extra + b"}"


async def read_body(request: HttpRequest) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > _MOST_BYTES:
            raise Invalid(f"The body is larger than {_MOST_BYTES >> 20} MiB.", code="request.too_large", hint="Send less at once.")
        parts.append(part)
    return b"".join(parts)
