"""uvicorn's server with an end that no client notices: who keeps a connection is answered, and told that it closes.

Cutting an idle connection races with a request that is on its way. So once the end has begun, every answer says
``Connection: close``, and only connections that stayed idle all through the wait are cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rung.serving.ending import DRAINING, ENDING

RETIRE = signal.SIGUSR2  # another worker has taken the place: there is time to let clients go
_RETIRING_S = 10.0
_STEP_S = 0.02


class DrainingServer(uvicorn.Server):
    """Serves until SIGTERM, SIGINT or ``RETIRE``; then no new connections, and those there are let go one by one.

    After SIGTERM health says so first, and connections are taken for ``drain_s`` seconds yet: balancers learn by asking.
    """

    def __init__(
        self, config: uvicorn.Config, *, ready: Callable[[], object] | None = None, linger_s: float = 1.0, drain_s: float = 0.0
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._linger_s, self._drain_s = linger_s, drain_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections, then say so."""
        await super().startup(sockets)
        if self._ready is not None:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, let go of those there are, finish what is under way."""
        begun = asyncio.get_running_loop().time()
        while DRAINING.is_set() and asyncio.get_running_loop().time() < begun + self._drain_s:
            await asyncio.sleep(_STEP_S)
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        await self._let_go()
        await super().shutdown([])

    async def _let_go(self) -> None:
        last = _Last(self.config.loaded_app)
        connections = self.server_state.connections
        for connection in connections:
            if hasattr(connection, "app"):  # what it gives the next request to
                connection.app = last
        until = asyncio.get_running_loop().time() + self._linger_s
        while connections and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_STEP_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals that end us. They are not raised again afterwards: the process has things to close."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        held = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM, RETIRE)}
        try:
            yield
        finally:
            for number, handler in held.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the end; a second SIGINT does not wait for requests under way."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        if sig == RETIRE:
            self._linger_s = max(self._linger_s, _RETIRING_S)
        elif sig == signal.SIGINT:
            self._linger_s = self._drain_s = 0.0
        elif DRAINING.is_set():  # told twice: no more time for balancers
            self._drain_s = 0.0
        if sig != RETIRE:
            DRAINING.set()
        self.should_exit = True
        ENDING.set()


class _Last:
    """Answers as before, and closes the connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the header that ends the connection."""

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, closing)
