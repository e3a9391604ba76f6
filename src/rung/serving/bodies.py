"""Reading bodies that come in parts: up to a size, and up to a time. One timer looks at all that are being read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rung.core.errors import Unavailable
from rung.serving.limiting import too_large

Receive = Callable[[], Awaitable[Any]]
_LENGTH = b"content-length"


class Gone(Exception):
    """The client went away before its request was whole."""


class Bodies:
    """Reads bodies. ``seconds``: how long a caller may take to send one."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._reading: dict[object, tuple[float, asyncio.Task[Any]]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def read(self, receive: Receive, headers: Mapping[bytes, bytes], limit: int) -> bytes:
        """The whole body.

        Raises:
            Invalid: it passes the limit, as soon as it is passed or announced. Unavailable: it comes too slowly. Gone: it never comes.
        """
        length = headers.get(_LENGTH, b"")
        if length.isdigit() and int(length[:20]) > limit:
            raise too_large(limit)
        key = object()
        task = asyncio.current_task()
        if task is not None:
            self._reading[key] = (time.monotonic() + self._seconds, task)
        if self._sweeper is None:
            self._sweep()
        try:
            message = await receive()
            body: bytes = message.get("body", b"")
            if not message.get("more_body") and message["type"] == "http.request" and len(body) <= limit:
                return body
            return await _rest(receive, message, limit)
        except asyncio.CancelledError:
            if key in self._reading:  # not swept: the server ends
                raise
            if task is not None:
                task.uncancel()
            raise Unavailable(
                f"The body did not come within {self._seconds:g} s.", code="request.timeout", hint="Send it whole, and faster."
            ) from None
        finally:
            self._reading.pop(key, None)

    def _sweep(self) -> None:
        """End the reading of bodies that came too slowly; once a second while any is read."""
        now = time.monotonic()
        late = [key for key, (until, _) in self._reading.items() if until < now]
        for key in late:
            self._reading.pop(key)[1].cancel()
        self._sweeper = asyncio.get_running_loop().call_later(min(1.0, self._seconds / 4), self._sweep) if self._reading else None


async def _rest(receive: Receive, message: Any, limit: int) -> bytes:
    parts, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
