"""The routes of the pages: login, logout, static files, every page as HTML and JSON, and the few acts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import msgspec
from anyio import to_thread
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from rung.client.transports import Transport
from rung.core.errors import Denied, NotFound, RungError
from rung.ui import session
from rung.ui.blocks import Page, PageFunction, Visit, Words
from rung.ui.pages import NAVIGATION, PAGES
from rung.ui.pages.actions import ACTIONS
from rung.ui.raw import output, raw, step_log

HERE = Path(__file__).parent
STATUS = {"not_found": 404, "already_exists": 409, "invalid": 422, "conflict": 409, "denied": 403, "unavailable": 503}
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".txt": "text/plain"}
_MOST_FORM = 200_000
_PROJECT = "x-rung-project"  # the server puts the project of ``/p/<project>/…`` there; a test holds both to one name
_LINKS = re.compile(r'(\s(?:href|action|formaction|src|hx-get|data-curve)=")/(?!static/)')
_LISTS = {"run"}  # fields that come once for each box that is ticked; they become lines
POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
}
JINJA = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_BELOW = dict.fromkeys(("/pipeline-runs", "/pipeline-compare", "/packages", "/reproductions"), "/pipelines")
_SEEN, _MARK = (
    "seen",
    '{"seen":"000000000000000000000000"}',
)  # a live page says what it shows; where nothing else is to be shown, nothing is sent
MakeTransport = Callable[[Request], Transport]


def ui_routes(make_transport: MakeTransport) -> list[BaseRoute]:
    """Every route of the pages.

    Args:
        make_transport: gives a transport that asks in the name of whoever sent a request, by the session's cookie.
    """
    routes: list[BaseRoute] = [
        Route("/login", _login_page, methods=["GET"]),
        Route("/login", _login, methods=["POST"]),
        Route("/logout", _logout, methods=["POST"]),
        Route("/static/{name}", _static, methods=["GET"]),
        Route("/raw/{owner}/{path:path}", _raw_route(raw, make_transport), methods=["GET"]),
        Route("/outputs/{id}/steps/{step}", _raw_route(output, make_transport), methods=["GET"]),
        Route("/step-logs/{id}/{step}", _raw_route(step_log, make_transport), methods=["GET"]),
    ]
    routes += [Route(f"/act/{name}", _act_route(act, make_transport), methods=["POST"]) for name, act in ACTIONS.items()]
    for path, page in PAGES:
        endpoint = _page_route(page, make_transport)
        routes += [
            Route("/index.json" if path == "/" else path + ".json", endpoint, methods=["GET"]),
            Route(path, endpoint, methods=["GET"]),
        ]
    return routes


def _page_route(page: PageFunction, make_transport: MakeTransport) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        as_json = request.url.path.endswith(".json")
        try:
            visit = _visit(request, make_transport(request))
            shown = page(visit)
        except RungError as error:
            return _failed(request, error, as_json=as_json)
        if as_json:
            body = msgspec.json.encode({"title": shown.title, "headline": shown.headline, "data": shown.data})
            return Response(body, media_type="application/json", headers=HEADERS)
        return _html(request, shown)

    return answer


def _raw_route(serve: Callable[[Request, Visit], Response], make_transport: MakeTransport) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        try:
            return serve(request, _visit(request, make_transport(request)))
        except RungError as error:
            return _failed(request, error, as_json=False)

    return answer


def _visit(request: Request, transport: Transport) -> Visit:
    many: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        many.setdefault(name, []).append(value)
    whole = {name: tuple(values) for name, values in many.items()}
    return Visit(transport, dict(request.path_params), dict(request.query_params), whole)


def _act_route(act: Callable[[Visit, dict[str, str]], str], make_transport: MakeTransport) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        form = await _form(request)
        if not session.form_holds(session.held_token(request), form.pop("form_token", "")):
            refused = Denied(
                "This form does not come from a page of this session.", code="ui.foreign_form", hint="Open the page again and resend it."
            )
            return _failed(request, refused, as_json=False)
        try:
            target = await to_thread.run_sync(act, Visit(make_transport(request), {}, {}), form)
        except RungError as error:
            return _failed(request, error, as_json=False)
        return RedirectResponse(_prefix(request) + target, 303, HEADERS)

    return answer


def _html(request: Request, page: Page, status: int = 200) -> Response:
    token = session.held_token(request)
    first = "/" + request.url.path.split("/")[1]
    here = _BELOW.get(first, first)
    query = request.query_params.multi_items()
    address = urlencode([(name, value) for name, value in query if name != _SEEN])
    text = JINJA.get_template("page.html").render(
        page=page,
        navigation=NAVIGATION if token else (),
        here=here,
        address=request.url.path + (f"?{address}" if address else ""),
        json_address=("/index" if request.url.path == "/" else request.url.path) + ".json",
        form_token=session.form_token(token) if token else "",
    )
    if page.live:
        mark = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=12).hexdigest()
        if "hx-request" in request.headers and dict(query).get(_SEEN) == mark:
            return Response(None, 204, HEADERS)  # htmx leaves the page, what is selected and what is open on it, as it is
        text = text.replace(_MARK, f'{{"{_SEEN}":"{mark}"}}')
    prefix = _prefix(request)
    if prefix:  # quotes in what users wrote are escaped, so only our own attributes match
        text = _LINKS.sub(lambda found: f"{found[1]}{prefix}/", text)
    return Response(text, status, HEADERS, "text/html")


def _prefix(request: Request) -> str:
    """What stands before every address of a project that is named in front of the path; empty in the token's own project."""
    project = request.headers.get(_PROJECT, "")
    return f"/p/{quote(project, safe='')}" if project else ""


def _failed(request: Request, error: RungError, *, as_json: bool) -> Response:
    status = STATUS.get(error.kind, 500)
    if error.code in {"governance.bad_token", "governance.no_token"}:
        status = 401
    if as_json:
        body = {"error": {"kind": error.kind, "code": error.code, "message": error.message, "hint": error.hint}}
        return Response(msgspec.json.encode(body), status, HEADERS, "application/json")
    if status == 401:  # noqa: PLR2004
        target = _prefix(request) + (request.url.path if request.method == "GET" else "/")
        return RedirectResponse(f"/login?next={quote(target)}", 303, HEADERS)
    page = Page(
        "Something is missing" if error.kind == "not_found" else "That did not work",
        error.message,
        [Words(error.hint or ""), Words(error.code, code=True)],
    )
    return _html(request, page, status)


async def _login_page(request: Request) -> Response:
    token = request.query_params.get("token", "").strip()
    if token:
        return _entered(request, token, "/")
    return _login_form(request, "")


async def _login(request: Request) -> Response:
    form = await _form(request)
    token = form.get("token", "").strip()
    if not token or not token.isascii() or not token.isprintable():
        return _login_form(request, "That is no token. Tokens start with the letters your owner gave you.", 422)
    return _entered(request, token, form.get("next", "/"))


def _entered(request: Request, token: str, target: str) -> Response:
    inside = target if target.startswith("/") and not target.startswith(("//", "/\\")) else "/"
    response = RedirectResponse(inside, 303, HEADERS)
    session.start(response, token, secure=request.url.scheme == "https")
    return response


def _login_form(request: Request, problem: str, status: int = 200) -> Response:
    text = JINJA.get_template("login.html").render(problem=problem, next=request.query_params.get("next", "/"))
    return Response(text, status, HEADERS, "text/html")


async def _logout(request: Request) -> Response:
    response = RedirectResponse("/login", 303, HEADERS)
    session.end(response)
    return response


async def _static(request: Request) -> Response:
    path = HERE / "static" / request.path_params["name"]
    if path.parent != HERE / "static" or not path.is_file():
        return _failed(request, NotFound("There is no such file.", code="ui.no_page"), as_json=False)
    headers = {**HEADERS, "cache-control": "public, max-age=3600"}
    return FileResponse(path, media_type=_TYPES.get(path.suffix, "application/octet-stream"), headers=headers)


async def _form(request: Request) -> dict[str, str]:
    body = await request.body()
    if len(body) > _MOST_FORM:
        return {}
    held = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: "\n".join(values) if name in _LISTS else values[-1] for name, values in held.items()}
