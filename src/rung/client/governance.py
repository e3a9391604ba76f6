"""Projects, principals, tokens, audit and lineage from Python."""

from __future__ import annotations

from typing import Literal

from rung.client.transports import Transport
from rung.core.records import Page
from rung.governance import records as r


class GovernanceVerbs:
    """Verbs of governance."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def who_am_i(self) -> r.Identity:
        """Principal, project and role behind the token in use."""
        return self._transport.call(r.WhoAmI())

    def create_project(self, name: str) -> r.Project:
        """A new project that the caller owns."""
        return self._transport.call(r.CreateProject(name=name))

    def projects(self) -> tuple[r.Project, ...]:
        """Projects the caller is a member of."""
        return self._transport.call(r.ListProjects())

    def create_principal(self, name: str, *, kind: r.PrincipalKind = "user", role: r.Role = "viewer") -> r.Principal:
        """A new person or service account with a role here."""
        return self._transport.call(r.CreatePrincipal(name=name, kind=kind, role=role))

    def set_role(self, principal: str, role: r.Role) -> r.Grant:
        """Give a principal another role."""
        return self._transport.call(r.SetRole(principal=principal, role=role))

    def principals(self) -> tuple[r.Grant, ...]:
        """Members of the project."""
        return self._transport.call(r.ListPrincipals())

    def create_token(self, principal: str, *, label: str = "", days: int | None = 90) -> r.NewToken:
        """A token; its secret is in the answer and nowhere else."""
        return self._transport.call(r.CreateToken(principal=principal, label=label, days=days))

    def revoke_token(self, token: str) -> r.Token:
        """Make a token worthless at once."""
        return self._transport.call(r.RevokeToken(id=token))

    def tokens(self) -> tuple[r.Token, ...]:
        """Tokens of the project, without secrets."""
        return self._transport.call(r.ListTokens())

    def audit(
        self, *, limit: int = 100, before: int | None = None, operation: str | None = None, principal: str | None = None
    ) -> Page[r.AuditEvent]:
        """Audit events, newest first."""
        return self._transport.call(r.ListAudit(limit=limit, before=before, request_operation=operation, principal=principal))

    def verify_audit(self) -> r.AuditReport:
        """Whether the audit log is as it was written."""
        return self._transport.call(r.VerifyAudit())

    def trace(self, kind: str, key: str, *, direction: Literal["up", "down"] = "up", depth: int = 30) -> r.Trace:
        """What a thing came from, or what came from it."""
        return self._transport.call(r.TraceLineage(kind=kind, id=key, direction=direction, depth=depth))

    def waiting_events(self) -> int:
        """Events that a subscriber has not had yet; 0 when the platform has caught up."""
        return self._transport.call(r.CountWaiting())

    def collect_garbage(self, *, older_than_days: float = 30.0, grace_hours: float = 24.0, dry_run: bool = False) -> r.Collected:
        """Remove for good what was deleted long ago, and blobs that nothing names any more."""
        return self._transport.call(r.CollectGarbage(older_than_days=older_than_days, grace_hours=grace_hours, dry_run=dry_run))

    def check_storage(self, *, sample: int | None = 1000, repair: bool = False) -> r.StorageReport:
        """What is wrong with what is stored; ``sample=None`` reads every blob."""
        return self._transport.call(r.CheckStorage(sample=sample, repair=repair))
