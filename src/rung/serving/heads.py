"""Heads of requests for predictions: what stands before a body, understood once for all requests that begin with the same bytes.

A client that keeps its connection sends the same head over and over, but for the length of the body. Who the caller is, and what is
deployed, is asked for with every request all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rung.serving import tracing
from rung.serving.paths import Matched

_MOST = 2048
_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class Head:
    """One head: names of headers are in lower case, of a header that is there twice the first counts. ``length``: of the body."""

    matched: Matched
    path: str
    pairs: list[tuple[bytes, bytes]]
    headers: Mapping[bytes, bytes]
    accepts: bytes
    traced: bool
    plain: bool  # whether the codec may take the body for its plainest form

    @property
    def trace_id(self) -> str:
        """The trace a request with this head belongs to; empty for none."""
        return tracing.trace_id(self.headers) if self.traced else ""

    @property
    def length(self) -> int:
        """Bytes of the body that follows; -1 where that is not said in the plainest way."""
        given = self.headers.get(b"content-length", b"")
        odd = b"transfer-encoding" in self.headers or b"upgrade" in self.headers or b"expect" in self.headers
        return int(given) if given.isdigit() and len(given) < 10 and not odd else -1  # noqa: PLR2004 - digits of any body that fits


def head_of(matched: Matched, path: str, pairs: list[tuple[bytes, bytes]], headers: Mapping[bytes, bytes], *, plain: bool) -> Head:
    """A head of parsed headers."""
    traced = tracing.PARENT in headers or tracing.REQUEST_ID in headers
    return Head(matched, path, pairs, headers, headers.get(b"accept-encoding", b""), traced, plain)


class Heads:
    """Heads by their bytes, with the length of what follows. Bounded: what is new when it is full begins it anew."""

    def __init__(self) -> None:
        self._held: dict[bytes, tuple[int, Head]] = {}
        self.find = self._held.get

    def remember(self, raw: bytes, head: Head) -> None:
        """Keep a head that a parser understood so; one that a second request will hardly begin with is not kept."""
        length = head.length
        if head.traced or length < 0 or len(raw) > _LONGEST:
            return
        if len(self._held) >= _MOST:
            self._held.clear()
        self._held[raw] = (length, head)
