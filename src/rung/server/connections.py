"""uvicorn's protocol with a shorter way for predictions, and with deadlines for callers who send nothing or too slowly.

A whole request for a prediction that needs nobody to wait is answered where it was parsed: no task, no ASGI messages. All others,
and whatever is not whole when the packet ends, go uvicorn's way. The deadlines cost nothing per request: once a second one timer
looks at all connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sized
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from rung.serving.codecs.replies import JSON, JSON_ALONE
from rung.serving.dataplane import LATER, DataPlane
from rung.serving.heads import Head
from rung.serving.inference import Reply

LOG = logging.getLogger("rung.server")
_LOOK_EVERY_S = 1.0
_HEADER_S = 10.0
_SWEEPER = "rung_sweeper"
_LAST = b"x-content-type-options: nosniff\r\ncontent-length: "
_MOST_QUIET = 1 << 16
_OFFERS = frozenset({b"upgrade", b"http2-settings"})


class _Pending:
    """A request that waits for its model, with what uvicorn looks at of one that an application answers."""

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive, self.disconnected, self.response_complete = keep_alive, False, False
        self.message_event = self  # nobody waits for messages of it

    def set(self) -> None:
        """Nothing: see above."""


class _Flow(FlowControl):
    """Reads nothing more while requests wait behind one another; uvicorn's own reads a packet of them for each that it answers."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, where nobody waits."""
        if not self._waiting:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head: Head | None = None
        self._body = b""
        self._between = True  # whether the next byte begins a request
        self._raw, self._size = b"", 0  # what came last, if it begins a request: up to the end of its headers, and how much it is
        self._heads = self._began = 0  # requests whose headers are whole, and that began
        self._looked: tuple[int, int, object] = (-1, -1, None)
        self._looked_at = 0.0
        self._told: tuple[object, bytes, bytes] = (None, b"", b"")
        self._pending = _Pending(keep_alive=True)
        self._quiet = 0  # bytes since the last that were of a body, or the last of a request's headers
        self._broken = False
        self._running: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to look at connections with the first one."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        if getattr(self.server_state, _SWEEPER, None) is None:
            setattr(self.server_state, _SWEEPER, self.loop.call_later(_LOOK_EVERY_S, _sweep, self.server_state, self.loop))

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so to the request that is answered now, too: uvicorn tells the newest alone."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """Answer a request whose head is known and that is all there is; parse others. A prediction not whole yet goes uvicorn's way."""
        app = self.app
        if self._between and type(app) is DataPlane:
            end = data.find(b"\r\n\r\n") + 4
            self._raw, self._size = data[:end], len(data)
            known = app.heads.find(self._raw)
            if known is not None and known[0] == len(data) - end and self._free():
                reply = app.at_once(known[1], data[end:], self.client, self._delivered)
                if reply is not None:
                    self._unset_keepalive_if_required()
                    self._heads += 1
                    self._began += 1
                    self._answer(reply, keeps=True)
                    return
        if self._broken:
            return
        self._quiet += len(data)
        self._unset_keepalive_if_required()
        self._fed(data)
        self._raw = b""
        if self._quiet > _MOST_QUIET:
            self._refuse(431, f"Headers of more than {_MOST_QUIET >> 10} KiB are not taken.")
        elif self._head is not None:
            self._ordinary()

    def _fed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            self._stay(data[error.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "This is no request of HTTP/1.1.")

    def _stay(self, rest: bytes) -> None:
        """Go on with HTTP/1.1 where a caller offers something else beside it, as some do with every first request."""
        if self.parser.get_method() == b"CONNECT":
            self._refuse(405, "CONNECT is not for this server.")
            return
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        for name, value in self.headers:
            if name == b"connection":
                kept = b", ".join([item for item in value.split(b",") if item.strip().lower() not in _OFFERS])
                lines += [b"connection: " + kept] if kept else []
            elif name not in _OFFERS:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self._began -= 1
        self._fed(b"\r\n".join([*lines, b"", rest]))

    def _refuse(self, status: int, said: str) -> None:
        """Answer what is no request, and close; after the answers that are still owed to those before it."""
        self._broken, self._between, self._head = True, False, None
        newest: Any = self.pipeline[0][0] if self.pipeline else self.cycle
        if newest is not None and not newest.response_complete and not getattr(newest, "more_body", False):
            newest.keep_alive = False
            return
        self._send(Reply(status, b'{"error":"%b"}' % said.encode(), [JSON]), keeps=False)

    def on_message_begin(self) -> None:
        """Wait with the ASGI scope until somebody needs it."""
        self._between = False
        self._began += 1
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Keep a prediction for when its body is whole."""
        if self.parser.should_upgrade():
            return  # it is parsed again without that
        self._heads += 1
        self._quiet = 0
        app = self.app
        if (
            type(app) is DataPlane
            and self.parser.get_method() == b"POST"
            and not self.expect_100_continue
            and self._free()
            and self.parser.get_http_version() == "1.1"
        ):
            self._head = app.head(self.url, self.headers)
            if self._head is not None:
                return
        self._scoped()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Gather the body of a prediction."""
        self._quiet = 0
        if self._head is None:
            super().on_body(body)
        else:
            self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        """Answer a prediction, if nobody has to wait for that."""
        if self.parser.should_upgrade():
            return
        self._between = True
        self._quiet = 0
        head = self._head
        if head is None:
            super().on_message_complete()
            return
        app: Any = self.app
        reply = app.at_once(head, self._body, self.client, self._delivered)
        if reply is None:
            self._ordinary()
            super().on_message_complete()
            return
        size, self._head, self._body = len(self._body), None, b""
        keeps = self.parser.should_keep_alive()
        if keeps and size == head.length == self._size - len(self._raw):  # nothing else has come with it
            app.heads.remember(self._raw, head)
        self._answer(reply, keeps=keeps)

    def _answer(self, reply: Reply, *, keeps: bool) -> None:
        if reply is LATER:
            self._pending = self.cycle = _Pending(keep_alive=keeps)  # type: ignore[assignment]  # what of a cycle uvicorn looks at
        else:
            self._send(reply, keeps=keeps)

    def _delivered(self, reply: Reply) -> None:
        """The reply to the one request that waits for its model; requests that came behind it are next."""
        pending = self._pending
        pending.response_complete = True
        if pending.disconnected or self.transport.is_closing():
            return
        self._send(reply, keeps=bool(self.pipeline) or (pending.keep_alive and type(self.app) is DataPlane))
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def _free(self) -> bool:
        """Whether an answer may be written now: none is under way, and the caller reads what he is sent."""
        cycle = self.cycle
        return (cycle is None or cycle.response_complete) and not self.flow.write_paused and not self.transport.is_closing()

    def _ordinary(self) -> None:
        """Go uvicorn's way with what has come of the request."""
        body, self._head, self._body = self._body, None, b""
        self._scoped()
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _scoped(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)

    def _send(self, reply: Reply, *, keeps: bool) -> None:
        state = self.server_state
        if self._told[0] is not state.default_headers:  # made anew each second, with the date
            said = b"".join([b"%b: %b\r\n" % pair for pair in state.default_headers])
            self._told = (state.default_headers, said, STATUS_LINE[200] + said + b"%b: %b\r\n" % JSON + _LAST)
        state.total_requests += 1
        if keeps and reply.headers is JSON_ALONE and reply.status == 200:  # noqa: PLR2004 - nearly always
            self.transport.write(b"%b%d\r\n\r\n%b" % (self._told[2], len(reply.body), reply.body))
            return
        parts = [STATUS_LINE[reply.status], self._told[1]]
        parts += [b"%b: %b\r\n" % pair for pair in reply.headers]
        parts.append(b"%b%d\r\n" % (_LAST, len(reply.body)))
        parts.append(b"\r\n" if keeps else b"connection: close\r\n\r\n")
        parts.append(reply.body)
        self.transport.write(b"".join(parts))
        if not keeps:
            self.transport.close()

    def overdue(self, now: float) -> bool:
        """Whether its caller has kept it too long without a request: in the middle of its headers, before the first, or after the last."""
        if self.flow.write_paused:  # he does not read what he is sent
            return self._still((self._heads, self.transport.get_write_buffer_size(), self), now) >= self.timeout_keep_alive
        busy = self.cycle is not None and not self.cycle.response_complete
        seen = (self._heads, self._began, self.cycle)
        if busy or self.timeout_keep_alive_task is not None or seen != self._looked:
            self._looked, self._looked_at = seen, now
            return False
        header_s = getattr(self.app, "header_s", _HEADER_S)
        between = 0 < self._heads == self._began
        return now - self._looked_at >= (self.timeout_keep_alive if between else header_s)

    def _still(self, seen: tuple[int, int, object], now: float) -> float:
        """Seconds since something was seen for the first time."""
        if seen != self._looked:
            self._looked, self._looked_at = seen, now
        return now - self._looked_at


def _sweep(state: Any, loop: asyncio.AbstractEventLoop) -> None:
    now = loop.time()
    for connection in list(state.connections):
        if isinstance(connection, Connection) and connection.overdue(now):
            connection.transport.abort()  # a close waits for the last byte to be read
    again = loop.call_later(_LOOK_EVERY_S, _sweep, state, loop) if state.connections else None
    setattr(state, _SWEEPER, again)
