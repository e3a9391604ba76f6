"""Handlers of governance."""

from __future__ import annotations

from datetime import datetime, timedelta

from rung.core.digests import digest_of
from rung.core.errors import AlreadyExists, Denied, NotFound
from rung.core.ids import new_id
from rung.core.records import Page, replaced
from rung.core.requests import handles
from rung.governance import checking as _checking
from rung.governance import collecting as _collecting
from rung.governance import records as r
from rung.governance.rules import GENESIS, chained, content, token_valid, verify
from rung.governance.store import GovernanceStore
from rung.storage.outbox import count_undelivered, emit
from rung.storage.scope import Scope

__all__ = ["_checking", "_collecting"]  # imported so that their handlers are known


@handles(r.CreateProject)
def create_project(request: r.CreateProject, scope: Scope) -> r.Project:
    """A new project owned by the caller. Raises AlreadyExists."""
    store = GovernanceStore(scope.connection)
    if store.find_project(request.name):
        raise AlreadyExists(f"Project {request.name!r} exists.", code="governance.project_exists", hint="Choose another name.")
    project = r.Project(id=new_id(), name=request.name, created_at=scope.now)
    store.add_project(project)
    store.set_role(project.id, scope.principal, "owner")
    return project


@handles(r.ListProjects)
def list_projects(request: r.ListProjects, scope: Scope) -> tuple[r.Project, ...]:
    """The caller's projects."""
    return GovernanceStore(scope.connection).projects_of(scope.principal)


@handles(r.CreatePrincipal)
def create_principal(request: r.CreatePrincipal, scope: Scope) -> r.Principal:
    """A new principal with a role here. Raises AlreadyExists."""
    store = GovernanceStore(scope.connection)
    if store.find_principal(request.name):
        raise AlreadyExists(f"Principal {request.name!r} exists.", code="governance.principal_exists", hint="Choose another name.")
    principal = r.Principal(id=new_id(), name=request.name, kind=request.kind, created_at=scope.now)
    store.add_principal(principal)
    store.set_role(scope.project, principal.id, request.role)
    emit(scope, r.PrincipalCreated(principal=request.name))
    return principal


@handles(r.SetRole)
def set_role(request: r.SetRole, scope: Scope) -> r.Grant:
    """The grant now in force. Raises NotFound."""
    store = GovernanceStore(scope.connection)
    store.set_role(scope.project, store.principal(request.principal).id, request.role)
    return r.Grant(project=scope.project, principal=request.principal, role=request.role)


@handles(r.ListPrincipals)
def list_principals(request: r.ListPrincipals, scope: Scope) -> tuple[r.Grant, ...]:
    """Members of the project."""
    return GovernanceStore(scope.connection).grants(scope.project)


@handles(r.CreateToken)
def create_token(request: r.CreateToken, scope: Scope) -> r.NewToken:
    """A token with its secret, shown this once. Raises NotFound."""
    store = GovernanceStore(scope.connection)
    expires_at = None if request.days is None else scope.now + timedelta(days=request.days)
    return new_token(store, store.principal(request.principal), scope.project, scope.now, label=request.label, expires_at=expires_at)


@handles(r.RevokeToken)
def revoke_token(request: r.RevokeToken, scope: Scope) -> r.Token:
    """The token, now revoked. Raises NotFound."""
    return GovernanceStore(scope.connection).revoke_token(scope.project, request.id, scope.now)


@handles(r.ListTokens)
def list_tokens(request: r.ListTokens, scope: Scope) -> tuple[r.Token, ...]:
    """Tokens of the project."""
    return GovernanceStore(scope.connection).tokens(scope.project)


@handles(r.WhoAmI)
def who_am_i(request: r.WhoAmI, scope: Scope) -> r.Identity:
    """Who the caller is. Raises NotFound when its project has gone."""
    store = GovernanceStore(scope.connection)
    principal, project = store.find_principal(scope.principal), store.find_project(scope.project)
    if principal is None or project is None:
        raise NotFound("The caller's principal or project is gone.", code="governance.gone")
    return r.Identity(principal=principal, project=project, role=store.role_of(project.id, principal.id))


@handles(r.ListAudit)
def list_audit(request: r.ListAudit, scope: Scope) -> Page[r.AuditEvent]:
    """One page of audit events."""
    events = GovernanceStore(scope.connection).audit(
        project=scope.project, limit=request.limit, before=request.before, operation=request.request_operation, principal=request.principal
    )
    return Page(items=tuple(events), next=str(events[-1].seq) if len(events) == request.limit else None)


@handles(r.VerifyAudit)
def verify_audit(request: r.VerifyAudit, scope: Scope) -> r.AuditReport:
    """Whether the chain holds."""
    return verify(GovernanceStore(scope.connection).audit_in_order())


@handles(r.TraceLineage)
def trace_lineage(request: r.TraceLineage, scope: Scope) -> r.Trace:
    """Nodes and edges within ``depth`` steps of a thing. Raises NotFound for a thing without edges."""
    store = GovernanceStore(scope.connection)
    start = r.Node(kind=request.kind, id=request.id)
    nodes, edges, front = {start: None}, dict[r.Edge, None](), [start]
    for _ in range(request.depth):
        found = store.edges_at(scope.project, front, up=request.direction == "up")
        edges |= dict.fromkeys(found)
        reached = [edge.source if request.direction == "up" else edge.target for edge in found]
        front = [node for node in dict.fromkeys(reached) if node not in nodes]
        nodes |= dict.fromkeys(front)
    if not edges and not store.edges_at(scope.project, [start], up=request.direction != "up"):
        raise NotFound(
            f"Nothing is known of {request.kind} {request.id!r}.",
            code="governance.no_lineage",
            hint="Check kind and id, for example model_version churn:3.",
        )
    return r.Trace(start=start, nodes=tuple(nodes), edges=tuple(edges))


@handles(r.CountWaiting)
def count_waiting(request: r.CountWaiting, scope: Scope) -> int:
    """How many events wait for delivery."""
    return count_undelivered(scope.connection, scope.project)


def authenticate(store: GovernanceStore, secret: str, now: datetime) -> tuple[r.Token, r.Principal]:
    """Token and principal behind a secret. Raises Denied."""
    return authenticate_digest(store, digest_of(secret.encode()) if secret else "", now)


def authenticate_digest(store: GovernanceStore, secret_digest: str, now: datetime) -> tuple[r.Token, r.Principal]:
    """Token and principal behind the digest of a secret. Raises Denied."""
    found = store.find_token(secret_digest)
    if found is None or not token_valid(
        expires_at=found[0].expires_at, revoked_at=found[0].revoked_at, disabled_at=found[1].disabled_at, now=now
    ):
        raise Denied(
            "The token is missing, unknown, expired or revoked.",
            code="governance.bad_token",
            hint="Set RUNG_TOKEN; `rung token create` makes one.",
        )
    return found


def new_token(
    store: GovernanceStore, principal: r.Principal, project: str, now: datetime, *, label: str, expires_at: datetime | None
) -> r.NewToken:
    """A token row and the secret it stands for: 256 random bits, so a plain fast hash of it is enough."""
    import secrets  # noqa: PLC0415 - it loads OpenSSL, which few commands need

    secret = "rung_" + secrets.token_urlsafe(32)
    token = r.Token(id=new_id(), principal=principal.name, project=project, label=label, created_at=now, expires_at=expires_at)
    store.add_token(token, principal.id, digest_of(secret.encode()))
    return r.NewToken(token=token, secret=secret)


def append_audit(
    scope: Scope, *, principal: str, operation: str, target: str, outcome: r.Outcome, code: str, request: dict[str, object]
) -> None:
    """Chain one audit event to the log, in the scope's transaction."""
    store = GovernanceStore(scope.connection)
    seq, previous = store.audit_head() or (0, GENESIS)
    event = r.AuditEvent(
        seq=seq + 1, at=scope.now, project=scope.project, principal=principal, operation=operation, target=target,
        outcome=outcome, code=code, request=request, previous=previous, digest="",
    )  # fmt: skip
    store.add_audit(replaced(event, digest=chained(previous, content(event))))
