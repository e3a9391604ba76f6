"""Tickets: signed, expiring leave to fetch or send one artifact, carried by an address alone.

Whoever holds the address may use it until it expires, so a ticket names exactly one thing and lives for minutes unless
more was asked for. The key is a file in the home: servers with the same home honour each other's tickets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from rung.core.errors import Denied
from rung.core.files import write_first
from rung.core.records import Record, prepared

_KEY_FILE = "tickets.key"
_KEY_BYTES = 32
_SIGN_BYTES = 32
_LONGEST = 8000


class Ticket(Record):
    """Leave to do one thing with one artifact.

    A ticket to get names the digest it was issued for, so that what is fetched in parts stays one file; a ticket to put
    names who asked for it, whose rights are looked up again when it is used.
    """

    verb: Literal["get", "put"]
    expires_at: datetime
    project: str
    principal: str
    owner: str
    path: str
    digest: str = ""
    media_type: str = ""


def signed(home: Path, ticket: Ticket) -> str:
    """A ticket as a text for addresses."""
    content = msgspec.msgpack.encode(ticket)
    return base64.urlsafe_b64encode(_sign(home, content) + content).decode().rstrip("=")


def read(home: Path, text: str, verb: str, now: datetime) -> Ticket:
    """The ticket behind a text. Raises Denied for one that is forged, expired or for something else."""
    try:
        raw = base64.b64decode(text[:_LONGEST] + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    sign, content = raw[:_SIGN_BYTES], raw[_SIGN_BYTES:]
    if not hmac.compare_digest(sign, _sign(home, content)):
        raise Denied("The address carries no ticket of this server.", code="tickets.forged", hint="Ask for a new address.")
    ticket = msgspec.msgpack.decode(content, type=prepared(Ticket))
    if ticket.verb != verb:
        raise Denied(f"The ticket is to {ticket.verb}, not to {verb}.", code="tickets.other_verb", hint="Ask for an address of that kind.")
    if ticket.expires_at <= now:
        raise Denied(f"The ticket expired at {ticket.expires_at}.", code="tickets.expired", hint="Ask for a new address.")
    return ticket


def _sign(home: Path, content: bytes) -> bytes:
    return hmac.new(_key(home), b"rung ticket\x00" + content, hashlib.sha256).digest()


def _key(home: Path) -> bytes:
    path = home / _KEY_FILE
    if not path.is_file():
        write_first(path, secrets.token_bytes(_KEY_BYTES))  # of several servers one wins, and the others read its key
    return path.read_bytes()
