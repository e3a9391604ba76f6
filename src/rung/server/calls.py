"""gRPC beside HTTP: started once the server answers, where grpcio is installed and a port is set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rung.app.platform import Platform
from rung.core.errors import Conflict
from rung.server.callers import CallDoor
from rung.serving.live import live_table

if TYPE_CHECKING:
    from rung.protocols.oip_grpc.server import GrpcServer

_STOP_S = 20.0


class Calls:
    """The gRPC server of a process, made by a thread of its own: importing grpcio takes longer than a first answer may.

    Args:
        platform: an open platform.
        open_as: the token that calls without one are answered with; empty: they are refused.
        shared: other workers listen on the same port.
        say: is told where it listens (unless it shares the port), or why it does not.
    """

    def __init__(self, platform: Platform, *, open_as: str = "", shared: bool = False, say: Callable[[str], object]) -> None:
        self._platform, self._open_as, self._shared, self._say = platform, open_as, shared, say
        self._ended = threading.Event()
        self._server: GrpcServer | None = None
        self._thread = threading.Thread(target=self._start, name="rung-grpc-start", daemon=True)

    def start(self) -> None:
        """Begin to listen, soon."""
        self._thread.start()

    def stop(self) -> None:
        """Let calls under way end."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
        if self._server is not None:
            self._server.stop()

    def _start(self) -> None:
        from rung.protocols.oip_grpc.server import GrpcServer  # noqa: PLC0415 - an optional dependency

        platform = self._platform
        server = platform.settings.server
        table = live_table(platform.database, platform.blobs, platform.settings)
        if self._ended.is_set():
            return
        try:
            self._server = GrpcServer(
                table,
                CallDoor(platform, self._open_as),
                (server.host, server.grpc_port),
                shared=self._shared,
                max_body_mb=server.max_body_mb,
            )
        except Conflict as error:
            self._say(f"  gRPC      off: {error}")
            return
        if not self._shared:
            self._say(f"  gRPC      {server.host}:{server.grpc_port}")


def calls(platform: Platform, stack: ExitStack, *, open_as: str = "", shared: bool = False, say: Callable[[str], object]) -> Calls | None:
    """gRPC for a platform, to be started and stopped with the stack; None where it is not wanted or not installed."""
    if not platform.settings.server.grpc_port or find_spec("grpc") is None:
        return None
    made = Calls(platform, open_as=open_as, shared=shared, say=say)
    stack.callback(made.stop)
    return made
