"""What codecs reply with: JSON, and answers in the content coding that the client accepts."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import msgspec

from rung.core.errors import Invalid
from rung.serving.inference import Call, Reply

JSON = (b"content-type", b"application/json")
JSON_ALONE = [JSON]  # never changed: who answers with it is known by that
_FORM = "application/x-www-form-urlencoded"
_SPACES = 64  # the most space before JSON that is sent as a form
_SMALL = 1400  # what fits one packet is not sent faster
_ENCODE = msgspec.json.Encoder().encode


def json_reply(value: Any, status: int = 200) -> Reply:
    """A reply of JSON."""
    return Reply(status, _ENCODE(value), [JSON])


def compressed(reply: Reply, accept_encoding: bytes) -> Reply:
    """The reply in the first content coding that the client accepts; as it is when it is small or the client names none of ours."""
    if not accept_encoding or len(reply.body) < _SMALL:
        return reply
    for item in accept_encoding.lower().split(b","):
        coding, _, quality = item.partition(b";")
        coding = coding.strip()
        if coding in _CODINGS and quality.replace(b" ", b"") not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}:
            body = _CODINGS[coding](reply.body)
            return Reply(reply.status, body, [*reply.headers, (b"content-encoding", coding), (b"vary", b"accept-encoding")])
    return reply


_CODINGS = {b"gzip": lambda data: gzip.compress(data, 1, mtime=0), b"deflate": lambda data: zlib.compress(data, 1)}


def media_of(call: Call) -> tuple[str, dict[str, str]]:
    """The media type of a body and its parameters, lower-case; empty when none is said.

    What says that it is a form and begins like JSON is JSON: `curl -d` names forms unless it is told otherwise.
    """
    kind, _, rest = call.headers.get(b"content-type", b"").decode("latin-1").partition(";")
    pairs = (part.partition("=") for part in rest.split(";") if part.strip())
    media = kind.strip().lower()
    if media == _FORM and call.body[:_SPACES].lstrip()[:1] in {b"{", b"["}:
        media = "application/json"
    return media, {name.strip().lower(): value.strip().strip('"').lower() for name, _, value in pairs}


def unknown_media(media: str, *known: str) -> Invalid:
    """The error for a body of a type that the path does not take."""
    return Invalid(f"Content-Type {media[:200]!r} is not understood.", code="request.media_type", hint=f"Send {', '.join(known)}.")
