"""Sending one message to one address, and refusing addresses that lead into the machine or the network behind it.

The address is resolved once, judged, and connected to as judged, so a name that changes its mind in between gains
nothing. Redirects are not followed, and no proxy is asked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from rung.core.errors import Invalid

TIMEOUT_S = 10.0
_MOST_READ = 2000
_EMBEDDING = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))  # NAT64, and the old way of writing IPv4
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Reply:
    """What came back: a status, or the reason why none did."""

    status: int | None
    body: str = ""
    error: str = ""

    @property
    def taken(self) -> bool:
        """Whether the receiver took the message."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 - what success is in HTTP


def signature(secret: str, delivery: str, timestamp: str, body: str) -> str:
    """What proves that a message is ours: HMAC-SHA256 over ``delivery.timestamp.body``, in base64 behind its version."""
    digest = hmac.new(secret.encode(), f"{delivery}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def checked_address(url: str, *, allow_private: bool) -> tuple[SplitResult, str]:
    """The parts of a URL and the address to connect to. Raises Invalid for one nobody outside may be told at."""
    parts = _parts(url)
    if parts.scheme != "https" and not allow_private:
        raise Invalid(f"{url[:200]!r} is not encrypted on its way.", code="registry.bad_webhook_url", hint="Use an https:// address.")
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or _PORTS[parts.scheme], type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Invalid(f"{parts.hostname} cannot be resolved: {error}.", code="registry.bad_webhook_url", hint="Check the name.") from None
    addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
    private = [address for address in addresses if not _is_public(address)]
    if private and not allow_private:
        raise Invalid(
            f"{parts.hostname} leads to {private[0]}, which is not a public address.",
            code="registry.private_address",
            hint="Use a public address, or let the operator set webhooks.allow_private.",
        )
    return parts, addresses[0]


def post(url: str, body: str, headers: dict[str, str], *, allow_private: bool, timeout_s: float = TIMEOUT_S) -> Reply:
    """Send a message and read the start of what comes back. After ``timeout_s`` in all it is broken off, however busy the line is."""
    try:
        parts, address = checked_address(url, allow_private=allow_private)
    except Invalid as error:
        return Reply(status=None, error=error.message)
    port = parts.port or _PORTS[parts.scheme]
    connection = http.client.HTTPConnection(parts.hostname or "", port, timeout=timeout_s)
    late = time.monotonic() + timeout_s
    watch: threading.Timer | None = None
    try:
        connection.sock = plain = socket.create_connection((address, port), timeout=timeout_s)
        watch = threading.Timer(max(0.1, late - time.monotonic()), _hang_up, [plain.dup()])
        watch.daemon = True
        watch.start()
        if parts.scheme == "https":
            connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=parts.hostname)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        named = parts.hostname if ":" not in (parts.hostname or "") else f"[{parts.hostname}]"
        host = f"{named}:{port}" if port != _PORTS[parts.scheme] else str(named)
        connection.request("POST", target, body.encode(), {**headers, "Host": host, "Connection": "close"})
        reply = connection.getresponse()
        return Reply(status=reply.status, body=reply.read(_MOST_READ).decode("utf-8", "replace").replace("\x00", ""))
    except (OSError, http.client.HTTPException, ValueError) as error:
        slow = f"no answer within {timeout_s:g} s" if time.monotonic() >= late else str(error)
        return Reply(status=None, error=f"{type(error).__name__}: {slow}"[:500])
    finally:
        if watch is not None:
            watch.cancel()
        connection.close()


def _hang_up(line: socket.socket) -> None:
    """End a connection under whoever still reads from it."""
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or parts.username is not None:
        raise Invalid(
            f"{url[:200]!r} is no address to post to.",
            code="registry.bad_webhook_url",
            hint="Write https://host/path, without a user name in it.",
        )
    return parts


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    behind = [found, *_inner(found)]
    return all(one.is_global and not one.is_multicast and not one.is_reserved for one in behind)


def _inner(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses an IPv6 address may be turned into on its way."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    teredo = address.teredo or ()
    found = [address.ipv4_mapped, address.sixtofour, *teredo]
    if any(address in network for network in _EMBEDDING):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]
