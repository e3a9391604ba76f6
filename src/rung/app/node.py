"""The platform of an inference node: what is deployed lies in its own home, and callers are admitted by the platform it follows.

A caller is remembered on disk under a digest of its token's digest, so that a node which starts while the platform is away
knows whom it answered before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rung.app.opening import opened
from rung.app.platform import IDENTITY_TTL_S, Caller, Platform
from rung.core.digests import digest_of
from rung.core.errors import Conflict, Denied, NotFound, RungError, Unavailable
from rung.core.files import write_whole
from rung.core.ids import new_id
from rung.core.records import Record, prepared
from rung.core.requests import Request
from rung.core.settings import Settings
from rung.governance.records import Principal, Project
from rung.governance.store import GovernanceStore
from rung.serving.node_records import Admission
from rung.storage.scope import Scope

A = TypeVar("A")
Ask = Callable[[str, str | None], Admission]
CALLERS = "callers"
REFUSED = "serving.node_refused"  # the node itself: then nobody is admitted by what was remembered
_REFUSED_S = 2.0
_DOWN_S = 1.0
_MOST = 10_000
_SKEW_S = 5.0


class Remembered(Record):
    """A caller as the platform knew it, and when (seconds since 1970)."""

    admission: Admission
    checked_at: float


class NodePlatform(Platform):
    """A platform that only answers predictions. ``ask`` asks the platform it follows who holds a token, by the token's digest."""

    ask: Ask
    project: Project

    def recalled(self, token: str, project: str | None = None, *, anew: bool = False) -> tuple[float, Caller]:
        """When the caller behind a token was identified, and who it is. Raises Denied, NotFound; Unavailable for strangers while nobody can be asked."""
        key = (digest_of(token.encode()), project)
        held = None if anew else self._identities.get(key)
        if held is not None and time.monotonic() - held[0] < IDENTITY_TTL_S:
            return held
        if not token:
            raise Denied("No token was sent.", code="governance.bad_token", hint="Send it as a bearer token.")
        admission = self.callers.admitted(*key)
        caller = Caller(
            principal=admission.principal, name=admission.name, kind=admission.kind, project=self.project.id, role=admission.role
        )
        if len(self._identities) > _MOST:
            self._identities.clear()
        found = self._identities[key] = (time.monotonic(), caller)
        return found

    def answer(self, request: Request[A], caller: Caller) -> A:
        """Raises Conflict: whatever is no prediction is the platform's to answer."""
        raise Conflict(
            f"An inference node answers predictions only, not {request.operation}.", code="serving.node_only",
            hint="Ask the platform that the node follows.",
        )  # fmt: skip

    @property
    def callers(self) -> Callers:
        """Who was admitted, by whom the platform says they are."""
        held = self.__dict__.get("_callers")
        if held is None:
            serving = self.settings.serving
            held = self._callers = Callers(self.settings.home_path / CALLERS, self.ask, serving.caller_s, serving.caller_offline_s)
        return held


class Callers:
    """Callers as the platform knows them, remembered for a while; one question about a caller at a time.

    Args:
        folder: where they are remembered; processes of one node share it.
        ask: the platform.
        fresh_s: how long an answer holds. Past half of it, it is renewed beside the answers.
        offline_s: how long it holds while the platform does not answer.
    """

    def __init__(self, folder: Path, ask: Ask, fresh_s: float, offline_s: float) -> None:
        self._folder, self._ask, self._fresh_s, self._offline_s = folder, ask, fresh_s, offline_s
        self._lock = threading.Lock()
        self._asking: dict[str, Future[Admission]] = {}
        self._refused: dict[str, tuple[float, RungError]] = {}
        self._down_until = 0.0
        folder.mkdir(exist_ok=True, mode=0o700)

    def admitted(self, token: str, project: str | None) -> Admission:
        """Who holds the token with a digest. Raises Denied, NotFound, Unavailable."""
        key = digest_of(f"{token} {project or ''}".encode())[-64:]
        held = self._remembered(key)
        age = time.time() - held.checked_at if held else 0.0
        if held is not None and -_SKEW_S <= age < self._fresh_s:
            if age > self._fresh_s / 2:
                self._asked(key, token, project)
            return held.admission
        refused = self._refused.get(key)
        if refused is not None and time.monotonic() - refused[0] < _REFUSED_S:
            raise refused[1]
        try:
            return self._asked(key, token, project).result()
        except Unavailable as error:
            if error.code == REFUSED:
                raise
            if held is not None and age < self._offline_s:
                return held.admission
            raise Unavailable(
                f"Who you are cannot be found out: {error.message}", code="serving.node_cut_off",
                hint="The platform is away, and this node has not answered you before, or not lately.",
            ) from None  # fmt: skip

    def _asked(self, key: str, token: str, project: str | None) -> Future[Admission]:
        """The answer under way, or one asked for now, in a thread."""
        with self._lock:
            held = self._asking.get(key)
            if held is not None:
                return held
            asked: Future[Admission] = Future()
            if time.monotonic() < self._down_until:
                asked.set_exception(Unavailable("The platform does not answer.", code="transport.unreachable"))
                return asked
            self._asking[key] = asked
        try:
            threading.Thread(target=self._find, args=(asked, key, token, project), name="rung-caller", daemon=True).start()
        except RuntimeError as error:  # no thread is left: whoever waits must hear, and whoever comes next must be able to ask
            with self._lock:
                del self._asking[key]
            asked.set_exception(Unavailable(f"The platform cannot be asked: {error}.", code="serving.node_cut_off"))
        return asked

    def _find(self, asked: Future[Admission], key: str, token: str, project: str | None) -> None:
        outcome: Any
        try:
            outcome = self._ask(token, project)
            self._refused.pop(key, None)
            with suppress(OSError):  # a full disk keeps nobody out whom the platform lets in
                self._remember(key, Remembered(admission=outcome, checked_at=time.time()))
        except (Denied, NotFound) as error:
            outcome = error
            with suppress(OSError):
                (self._folder / key).unlink()
            if len(self._refused) > _MOST:
                self._refused.clear()
            self._refused[key] = (time.monotonic(), error)
        except RungError as error:
            outcome = error if isinstance(error, Unavailable) else Unavailable(error.message, code=error.code, hint=error.hint)
            self._down_until = time.monotonic() + _DOWN_S
        except Exception as error:  # whoever waits must hear
            outcome = Unavailable(f"The platform cannot be asked: {error}.", code="serving.node_cut_off")
        with self._lock:
            del self._asking[key]
        asked.set_exception(outcome) if isinstance(outcome, RungError) else asked.set_result(outcome)

    def _remembered(self, key: str) -> Remembered | None:
        try:
            return msgspec.json.decode((self._folder / key).read_bytes(), type=prepared(Remembered))
        except (OSError, msgspec.DecodeError):
            return None

    def _remember(self, key: str, found: Remembered) -> None:
        write_whole(self._folder / key, msgspec.json.encode(found))
        held = list(self._folder.iterdir())
        if len(held) > _MOST:
            for path in sorted(held, key=_changed_at)[: _MOST // 10]:
                path.unlink(missing_ok=True)


def _changed_at(path: Path) -> float:
    """When a file was written; other processes of the node write and remove here, too."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def open_node(settings: Settings, project: Project, ask: Ask) -> NodePlatform:
    """The platform of a node that follows a project, over the node's own home. Raises as ``open_platform`` does."""
    platform = opened(settings, NodePlatform)
    platform.ask, platform.project = ask, project
    if platform.database.read(lambda connection: GovernanceStore(connection).find_project(project.id)) is None:
        system = Caller(principal="0" * 32, name="system", kind="service", project=project.id, role="owner")
        platform.scope(system).write(lambda scope: _first_rows(scope, project))
    return platform


def _first_rows(scope: Scope, project: Project) -> None:
    store = GovernanceStore(scope.connection)
    if store.find_project(project.id) is not None:
        return  # another process of the node was first
    store.add_project(project)
    store.add_principal(Principal(id=new_id(), name="engine", kind="service", created_at=scope.now))
