"""The browser's session: the token in a cookie, and a token of its own for every form that acts."""

from __future__ import annotations

import hashlib
import hmac

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "rung_token"  # the server's door reads the same cookie; a test holds both to one name
_YEAR = 365 * 86400


def held_token(request: Request) -> str:
    """The token of the session, empty without one."""
    return request.cookies.get(COOKIE, "")


def start(response: Response, token: str, *, secure: bool) -> None:
    """Keep the token where scripts cannot read it and other sites' requests do not carry it."""
    response.set_cookie(COOKIE, token, max_age=_YEAR, httponly=True, samesite="lax", secure=secure, path="/")


def end(response: Response) -> None:
    """Forget the token."""
    response.delete_cookie(COOKIE, path="/")


def form_token(token: str) -> str:
    """What a form of this session must send back; nobody without the session's token can compute it."""
    return hmac.new(token.encode(), b"rung form", hashlib.sha256).hexdigest()


def form_holds(token: str, sent: str) -> bool:
    """Whether a form came from a page of this session."""
    return bool(token) and hmac.compare_digest(form_token(token), sent)
