"""What the engine needs of the platform it works for, and a transport that asks it as the service account."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeVar

from rung.core.clock import Clock
from rung.core.requests import Request
from rung.core.settings import Settings
from rung.storage.blobs import BlobStore
from rung.storage.database import Database
from rung.storage.scope import Scope

A = TypeVar("A")


class Host(Protocol):
    """The platform, seen from below: the engine is a floor under the one that composes it."""

    settings: Settings
    database: Database
    blobs: BlobStore
    clock: Clock

    def service(self, project: str, name: str = "engine") -> Any:
        """The service account in a project."""
        ...

    def answer(self, request: Request[A], caller: Any) -> A:
        """Answer a request."""
        ...

    def scope(self, caller: Any) -> Scope:
        """The world of a caller."""
        ...


class ServiceTransport:
    """Asks a platform as its service account in one project."""

    def __init__(self, host: Host, project: str) -> None:
        self._host = host
        self._caller = host.service(project)

    @property
    def project(self) -> str:
        """Id of the project."""
        return str(self._caller.project)

    def call(self, request: Request[A]) -> A:
        """Answer a request."""
        return self._host.answer(request, self._caller)

    def put_blob(self, source: bytes | Path) -> str:
        """Keep bytes; return their digest."""
        return self._host.blobs.put(source)

    def get_blob(self, digest: str) -> bytes:
        """Bytes by digest. Raises NotFound."""
        return self._host.blobs.get(digest)

    def scope(self) -> Scope:
        """The service account's world, now."""
        return self._host.scope(self._caller)

    def close(self) -> None:
        """Nothing to let go of: the platform belongs to somebody else."""
