"""W3C trace context: what of a caller's trace a prediction keeps, and what goes back with the answer.

Source: W3C Recommendation "Trace Context", section 3.2 (traceparent header field values).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

PARENT, REQUEST_ID = b"traceparent", b"x-request-id"
_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,200}")
_NO_TRACE, _NO_SPAN, _FORBIDDEN, _FIRST = b"0" * 32, b"0" * 16, b"ff", b"00"


def parsed(traceparent: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Trace id, the caller's span id and flags; None for a value that the recommendation says to ignore."""
    found = _PARENT.fullmatch(traceparent.strip())
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == _FORBIDDEN or trace == _NO_TRACE or span == _NO_SPAN or (version == _FIRST and more):
        return None
    return trace, span, flags


def trace_id(headers: Mapping[bytes, bytes]) -> str:
    """The trace a request belongs to; empty without one."""
    found = parsed(headers.get(PARENT, b""))
    return found[0].decode() if found else ""


def request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """The id a caller gave its request, where it can go back in a header; empty without one."""
    given = headers.get(REQUEST_ID, b"")
    return given if _REQUEST_ID.fullmatch(given) else b""


def echoed(headers: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Headers of the answer: the same trace with a span of our own, and the caller's request id."""
    sent = []
    found = parsed(headers.get(PARENT, b""))
    if found is not None:
        sent.append((PARENT, b"00-%b-%b-%b" % (found[0], os.urandom(8).hex().encode(), found[2])))
    given = request_id(headers)
    return [*sent, (REQUEST_ID, given)] if given else sent
