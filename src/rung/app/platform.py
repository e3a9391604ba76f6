"""The platform: authenticate, authorise, revalidate, run the handler, and write the audit event with its effects.

``read`` requests see a snapshot and leave no audit event. ``write`` handlers and the saving half of ``work``
handlers share one transaction with their audit event, so neither exists without the other.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from rung.core.clock import Clock, SystemClock
from rung.core.digests import digest_of
from rung.core.errors import Denied, NotFound, RungError
from rung.core.records import checked
from rung.core.requests import OPERATIONS, Request, handler_of, import_area, request_type
from rung.core.settings import Settings
from rung.governance.operations import append_audit, authenticate
from rung.governance.records import Outcome, Role
from rung.governance.rules import may
from rung.governance.store import GovernanceStore
from rung.storage.blobs import BlobStore
from rung.storage.connection import Connection
from rung.storage.database import Database
from rung.storage.scope import Scope

A = TypeVar("A")
IDENTITY_TTL_S = 1.0
_LONG = 500


class Caller(msgspec.Struct, frozen=True):
    """Who stands at the door: a principal, the project it works in and its role there."""

    principal: str
    name: str
    kind: str
    project: str
    role: Role | None


class Platform:
    """The running composition. Open one with ``rung.app.opening.open_platform``."""

    def __init__(self, settings: Settings, database: Database, blobs: BlobStore, clock: Clock | None = None) -> None:
        self.settings = settings
        self.database = database
        self.blobs = blobs
        self.clock = clock or SystemClock()
        self.after_write: list[Callable[[], None]] = []  # told after every commit, before its answer
        self.epoch = 0  # counts when all remembered identities were let go of, for those who remember more
        self._identities: dict[tuple[str, str | None], tuple[float, Caller]] = {}

    def call(self, request: Request[A], *, token: str, project: str | None = None) -> A:
        """Answer a request made with a token. Raises the six errors of ``rung.core.errors``."""
        return self.answer(request, self.identify(token, project))

    def identify(self, token: str, project: str | None = None) -> Caller:
        """The caller behind a token, in the named project or the token's own. Raises Denied, NotFound."""
        return self.recalled(token, project)[1]

    def recalled(self, token: str, project: str | None = None, *, anew: bool = False) -> tuple[float, Caller]:
        """When the caller behind a token was identified (monotonic seconds, at most a second ago unless ``anew``), and who it is."""
        key = (digest_of(token.encode()), project)
        held = None if anew else self._identities.get(key)
        if held is not None and time.monotonic() - held[0] < IDENTITY_TTL_S:
            return held
        found = (time.monotonic(), self.database.read(lambda connection: self._identify(connection, token, project)))
        if len(self._identities) > 10_000:  # noqa: PLR2004 - a bound on memory, not a tuned number
            self._identities.clear()
        self._identities[key] = found
        return found

    def known(self, token: str, project: str | None = None) -> Caller | None:
        """The caller behind a token that was identified a moment ago, without asking the database; else None."""
        held = self._identities.get((digest_of(token.encode()), project))
        return held[1] if held and time.monotonic() - held[0] < IDENTITY_TTL_S else None

    def service(self, project: str, name: str = "engine") -> Caller:
        """The platform's own service account in a project, for background work. Raises NotFound."""

        def find(connection: Connection) -> Caller:
            store = GovernanceStore(connection)
            held, principal = store.find_project(project), store.principal(name)
            if held is None:
                raise NotFound(f"There is no project {project!r}.", code="governance.no_project")
            return Caller(principal=principal.id, name=name, kind="service", project=held.id, role="service")

        return self.database.read(find)

    def acting(self, project: str, principal: str) -> Caller:
        """A principal with the rights it has in a project now, for what it was given leave to do earlier. Raises Denied."""

        def find(connection: Connection) -> Caller:
            store = GovernanceStore(connection)
            held, role = store.find_principal(principal), store.role_of(project, principal)
            if held is None or held.disabled_at is not None or role is None:
                raise Denied("Who asked for this may no longer come in.", code="governance.denied", hint="Ask for it anew.")
            return Caller(principal=held.id, name=held.name, kind=held.kind, project=project, role=role)

        return self.database.read(find)

    def answer(self, request: Request[A], caller: Caller) -> A:
        """Answer a request of a caller whose identity is already established."""
        kind = type(request)
        handler = handler_of(kind)
        request = checked(request, kind)
        scope = self.scope(caller)
        try:
            self.admit(kind, caller)
        except Denied as error:
            self._note(scope, caller, request, "denied", error.code)
            raise
        try:
            return self._run(request, handler, scope, caller)
        except RungError as error:
            if kind.effect != "read" and kind.audited:
                self._note(scope, caller, request, "failed", error.code)
            raise
        finally:
            if kind.operation.startswith("governance."):
                self.epoch += 1
                self._identities.clear()

    def admit(self, kind: type[Request[Any]], caller: Caller) -> None:
        """Raise Denied unless the caller's role holds the permission a request needs."""
        if not may(caller.role, kind.permission):
            raise Denied(
                f"{caller.name!r} may not {kind.operation}: it needs {kind.permission}, and the role here is {caller.role or 'none'}.",
                code="governance.denied",
                hint="Ask an owner of the project for a role that includes it.",
            )

    def scope(self, caller: Caller) -> Scope:
        """The world a caller's handlers run in, now."""
        return Scope(
            project=caller.project,
            principal=caller.principal,
            principal_name=caller.name,
            principal_kind=caller.kind,
            now=self.clock.now(),
            settings=self.settings,
            database=self.database,
            blobs=self.blobs,
        )

    def close(self) -> None:
        """Finish what was acknowledged and let go of the database."""
        self.database.close()
        close = getattr(self.blobs, "close", None)
        if close is not None:
            close()

    def _run(self, request: Request[A], handler: Callable[..., Any], scope: Scope, caller: Caller) -> A:
        kind = type(request)
        if kind.effect == "read":
            return scope.read(lambda inside: handler(request, inside))  # type: ignore[no-any-return]
        save = handler(request, scope) if kind.effect == "work" else lambda inside: handler(request, inside)

        def saved(inside: Scope) -> A:
            answer: A = save(inside)
            if kind.audited:
                _audit(inside, caller, request, "ok", "")
            return answer

        answer = scope.write(saved)
        for told in self.after_write:
            told()
        return answer

    def _note(self, scope: Scope, caller: Caller, request: Request[Any], outcome: Outcome, code: str) -> None:
        scope.write(lambda inside: _audit(inside, caller, request, outcome, code))

    def _identify(self, connection: Connection, token: str, project: str | None) -> Caller:
        store = GovernanceStore(connection)
        held, principal = authenticate(store, token, self.clock.now())
        wanted = project or held.project
        found = store.find_project(wanted) if wanted.isprintable() else None  # PostgreSQL takes no NUL
        role = store.role_of(found.id, principal.id) if found else None
        if found is None or role is None:
            raise NotFound(
                f"There is no project {wanted!r}, or none that {principal.name!r} is a member of.",
                code="governance.no_project",
                hint="`rung project list` shows yours, `rung project create NAME` makes one.",
            )
        return Caller(principal=principal.id, name=principal.name, kind=principal.kind, project=found.id, role=role)


def request_named(operation: str) -> type[Request[Any]]:
    """The request of an operation, importing its area on first use. Raises NotFound."""
    if operation not in OPERATIONS:
        area = operation.partition(".")[0]
        if area.isidentifier() and importlib.util.find_spec(f"rung.{area}") and importlib.util.find_spec(f"rung.{area}.operations"):
            import_area(area)
    return request_type(operation)


def _audit(scope: Scope, caller: Caller, request: Request[Any], outcome: Outcome, code: str) -> None:
    plain: dict[str, Any] = msgspec.to_builtins(request)
    plain |= {name: "********" for name in request.secrets if plain.get(name) is not None}
    append_audit(
        scope,
        principal=caller.name,
        operation=request.operation,
        target=_target(request, plain),
        outcome=outcome,
        code=code,
        request={name: _short(value) for name, value in plain.items()},
    )


def _target(request: Request[Any], plain: dict[str, Any]) -> str:
    noun = request.permission.partition(":")[0]
    words = [str(value) for value in plain.values() if isinstance(value, (str, int)) and not isinstance(value, bool)]
    return ":".join([noun, *words[:2]])[:_LONG]


def _short(value: Any) -> Any:
    text = msgspec.json.encode(value)
    return value if len(text) <= _LONG else f"{len(text)} bytes, {digest_of(text)}"
