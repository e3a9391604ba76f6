"""Running the server: the socket, uvicorn, and an orderly end."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from rung.core.errors import Conflict, Invalid

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
BACKLOG = 2048
KEEP_ALIVE_S = 75


def listening_socket(host: str, port: int, *, allow_remote: bool = False, shared: bool = False) -> socket.socket:
    """A bound TCP socket. Raises Conflict for a taken port, Invalid for an address that is not ours or not loopback.

    The protocol is named explicitly: asyncio turns Nagle's algorithm off only on sockets that say IPPROTO_TCP, and
    without that every answer on a kept connection waits about 40 ms for the client's delayed acknowledgement.

    Args:
        host: address to listen on.
        port: TCP port; 0 picks one.
        allow_remote: whether the address may be one that others can reach.
        shared: let further sockets of this user be bound to the same port (SO_REUSEPORT); the kernel deals connections out among them.
    """
    if host not in LOOPBACK and not allow_remote:
        raise Invalid(
            f"{host} is not a loopback address, and Rung speaks plain HTTP.",
            code="server.not_loopback",
            hint="Put a TLS proxy in front and say --behind-proxy, or listen on 127.0.0.1.",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OverflowError:
        listener.close()
        raise Invalid(f"{port} is no port.", code="server.bad_address", hint="Ports are 1 to 65535; 0 picks a free one.") from None
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"Port {port} on {host} is taken.",
                code="server.port_taken",
                hint="Stop what listens there, or choose another: --set server.port=0 picks a free one.",
            ) from None
        raise Invalid(
            f"Cannot listen on {host}:{port}: {error.strerror}.", code="server.bad_address", hint="Check server.host and server.port."
        ) from None
    listener.listen(BACKLOG)
    return listener


def load_server() -> None:
    """Import what ``serve`` needs, once for all processes that will be forked from this one."""
    import uvicorn.loops.uvloop  # noqa: PLC0415 - see below
    import uvicorn.protocols.http.httptools_impl  # noqa: PLC0415, F401 - the supervisor of workers makes sockets and serves nothing

    from rung.server import connections, draining  # noqa: PLC0415, F401 - see above


def serve(
    app: ASGIApp, listener: socket.socket, *, ready: Callable[[], object] | None = None, linger_s: float = 1.0, drain_s: float = 0.0
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished first.

    Args:
        app: what answers.
        listener: a listening socket; it is closed.
        ready: called once connections are taken.
        linger_s: seconds in which kept connections are answered a last time, and told to close, before they are cut.
        drain_s: seconds after SIGTERM in which connections are taken yet, and health says that it drains.
    """
    import uvicorn  # noqa: PLC0415 - the supervisor of workers makes sockets and serves nothing

    from rung.server.connections import Connection  # noqa: PLC0415 - see above
    from rung.server.draining import DrainingServer  # noqa: PLC0415 - see above

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app, loop="uvloop", http=Connection, ws="none", proxy_headers=False, access_log=False, log_level="warning", timeout_graceful_shutdown=10,
        timeout_keep_alive=KEEP_ALIVE_S, backlog=BACKLOG, server_header=False,
    )  # fmt: skip
    DrainingServer(config, ready=ready, linger_s=linger_s, drain_s=drain_s).run(sockets=[listener])
