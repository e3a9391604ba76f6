"""Running the server: the socket, uvicorn, and an orderly end."""

from __future__ import annotations

import errno
import logging
import socket

import uvicorn
from starlette.types import ASGIApp

from rung.core.errors import Conflict, Invalid

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def listening_socket(host: str, port: int, *, allow_remote: bool = False) -> socket.socket:
    """A bound TCP socket. Raises Conflict for a taken port, Invalid for an address that is not ours or not loopback.

    The protocol is named explicitly: asyncio turns Nagle's algorithm off only on sockets that say IPPROTO_TCP, and
    without that every answer on a kept connection waits about 40 ms for the client's delayed acknowledgement.
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
    try:
        listener.bind((host, port))
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
    listener.listen(1024)
    return listener


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until a signal ends it; requests under way are finished first."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", access_log=False, log_level="warning", timeout_graceful_shutdown=10, server_header=False
    )
    uvicorn.Server(config).run(sockets=[listener])
