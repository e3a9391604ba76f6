"""The in-process transport: the platform called as a function, with the same answers as over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from rung.app.opening import TOKEN_FILE, open_platform
from rung.app.platform import Caller, Platform
from rung.core.errors import Denied
from rung.core.requests import Request
from rung.core.settings import Settings
from rung.governance.rules import may

A = TypeVar("A")


class LocalTransport:
    """Asks a platform in this process, as the holder of a token or as an established caller."""

    def __init__(self, platform: Platform, *, token: str = "", project: str | None = None, caller: Caller | None = None) -> None:
        self.platform = platform
        self.project = project
        self._token = token
        self._caller = caller

    def call(self, request: Request[A]) -> A:
        """Answer a request."""
        return self.platform.answer(request, self.caller(type(request)))

    def caller(self, kind: type[Request[Any]] = Request) -> Caller:
        """Who asks a kind of request, and where. Raises Denied, NotFound."""
        return self._caller or self.platform.identify(self._token, None if kind.of_projects else self.project)

    def put_blob(self, source: bytes | Path, *, move: bool = False) -> str:
        """Keep bytes; return their digest; ``move`` may take the file away. Raises Denied without the right to write."""
        self.allow("blob:write")
        return self.platform.blobs.put(source, move=move)

    def get_blob(self, digest: str) -> bytes:
        """Bytes by digest. Raises NotFound, Denied."""
        self.allow("blob:read")
        return self.platform.blobs.get(digest)

    def close(self) -> None:
        """Let go of the platform."""
        self.platform.close()

    def allow(self, permission: str) -> None:
        """Raise Denied unless the caller holds a permission here."""
        who = self.caller()
        if not may(who.role, permission):
            raise Denied(f"{who.name!r} lacks {permission}.", code="governance.denied", hint="Ask an owner of the project.")


def local_transport(settings: Settings) -> LocalTransport:
    """A transport to the embedded platform in the home, with the token given or the one kept there, in the project the settings name."""
    platform, first = open_platform(settings)
    secret = settings.token or (first.secret if first else _kept(settings.home_path / TOKEN_FILE))
    return LocalTransport(platform, token=secret, project=settings.named_project)


def service_transport(settings: Settings, project: str) -> LocalTransport:
    """A transport to the embedded platform for a step in a process of its own: as the engine that runs it, in its run's project."""
    platform, _ = open_platform(settings)
    return LocalTransport(platform, project=project, caller=platform.service(project))


def _kept(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        raise Denied(
            f"There is no token at {path}.", code="governance.no_token_file", hint="Set RUNG_TOKEN to a token of this home."
        ) from None
