"""Which platform a transport reaches, where its spool lies, and how a forked child reaches it anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rung.client.client import Client
from rung.client.spool import spool_root
from rung.client.transports import HttpTransport, Transport
from rung.core.records import replaced
from rung.core.settings import Settings, load_settings


@dataclass(frozen=True)
class Place:
    """A platform as the spool names it, and the spool's folder for it."""

    platform: str
    project: str
    root: Path
    bound_bytes: int


def place_of(transport: Transport | None, settings: Settings | None = None) -> Place:
    """Where what is logged through a transport waits; None: for an offline run, by the settings alone."""
    settings = settings or load_settings()
    bound = settings.spool_mb << 20
    if isinstance(transport, HttpTransport):
        root = spool_root(settings) if settings.url or settings.spool else spool_root(_remote(settings, transport.url))
        return Place(transport.url, transport.project or "", root, bound)
    platform = getattr(transport, "platform", None)
    home = platform.settings.home_path if platform is not None else None
    return Place(str(home or ""), getattr(transport, "project", None) or "", spool_root(settings, home), bound)


def reopened(client: Client) -> Client | None:
    """A client for a forked child: connections do not survive a fork.

    None for the embedded platform: an open SQLite database must not be used across a fork, so the parent sends for the child.
    """
    transport = client.transport
    if isinstance(transport, HttpTransport):
        return Client(HttpTransport(transport.url, transport.token, transport.project))
    return None


def _remote(settings: Settings, url: str) -> Settings:
    return replaced(settings, url=url)
