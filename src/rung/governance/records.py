"""Records and requests of governance."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from rung.core.events import Event
from rung.core.records import Count, Id, Instant, Line, Name, Page, Record
from rung.core.references import FlawKind
from rung.core.requests import Effect, Request

Role = Literal["viewer", "node", "editor", "service", "maintainer", "owner"]
PrincipalKind = Literal["user", "service"]
Outcome = Literal["ok", "denied", "failed"]


class Project(Record):
    """A space in which names are unique and rights are given."""

    id: Id
    name: Name
    created_at: Instant


class Principal(Record):
    """Who asks: a person or a service account."""

    id: Id
    name: Name
    kind: PrincipalKind
    created_at: Instant
    disabled_at: Instant | None = None


class Grant(Record):
    """A role given to a principal on a project."""

    project: str
    principal: str
    role: Role


class Token(Record):
    """A token without its secret."""

    id: Id
    principal: str
    project: str
    label: Line
    created_at: Instant
    expires_at: Instant | None = None
    revoked_at: Instant | None = None


class NewToken(Record):
    """A fresh token; ``secret`` is shown this once and kept only as a hash."""

    token: Token
    secret: str


class Identity(Record):
    """The principal behind a request, the project it works in and its role there."""

    principal: Principal
    project: Project
    role: Role | None


class AuditEvent(Record):
    """Who asked what, when, with which outcome; ``digest`` chains it to the event before."""

    seq: Count
    at: Instant
    project: str
    principal: str
    operation: str
    target: str
    outcome: Outcome
    code: str
    request: dict[str, Any]
    previous: str
    digest: str


class AuditReport(Record):
    """Result of re-computing the chain: how many events hold, and the first that does not."""

    events: Count
    intact: bool
    head: str
    broken_at: Count | None = None
    reason: str = ""


# As long as a model's name and a number behind it.
NodeId = Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[^\x00]+$")]


class Node(Record):
    """One thing in the lineage graph, such as ``model_version`` ``late-flights:3``."""

    kind: Name
    id: NodeId


class Edge(Record):
    """``source`` went into, or caused, ``target``."""

    source: Node
    relation: Name
    target: Node
    at: Instant


class Trace(Record):
    """The part of the graph that can be reached from a node."""

    start: Node
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


class CreateProject(Request[Project]):
    """Make a project; the caller becomes its owner."""

    operation = "governance.create_project"
    permission = "project:admin"
    of_projects: ClassVar[bool] = True
    name: Name


class ListProjects(Request[tuple[Project, ...]]):
    """Projects the caller is a member of."""

    operation = "governance.list_projects"
    permission = "project:read"
    of_projects: ClassVar[bool] = True
    effect: ClassVar[Effect] = "read"


class CreatePrincipal(Request[Principal]):
    """Make a person or a service account known, with a role on this project."""

    operation = "governance.create_principal"
    permission = "principal:admin"
    name: Name
    kind: PrincipalKind = "user"
    role: Role = "viewer"


class SetRole(Request[Grant]):
    """Give a principal a role on this project, in place of the one it has."""

    operation = "governance.set_role"
    permission = "principal:admin"
    principal: Name
    role: Role


class ListPrincipals(Request[tuple[Grant, ...]]):
    """Members of this project with their roles."""

    operation = "governance.list_principals"
    permission = "principal:read"
    effect: ClassVar[Effect] = "read"


class CreateToken(Request[NewToken]):
    """A token for a principal, working in this project by default."""

    operation = "governance.create_token"
    permission = "token:admin"
    principal: Name
    label: Line = ""
    days: Annotated[int, Meta(ge=1, le=3650)] | None = 90


class RevokeToken(Request[Token]):
    """Make a token worthless at once."""

    operation = "governance.revoke_token"
    permission = "token:admin"
    id: Id


class ListTokens(Request[tuple[Token, ...]]):
    """Tokens of this project, without secrets."""

    operation = "governance.list_tokens"
    permission = "token:admin"
    effect: ClassVar[Effect] = "read"


class WhoAmI(Request[Identity]):
    """The principal, project and role behind the caller's token."""

    operation = "governance.who_am_i"
    permission = "project:read"
    effect: ClassVar[Effect] = "read"


class ListAudit(Request[Page[AuditEvent]]):
    """Audit events of this project, newest first."""

    operation = "governance.list_audit"
    permission = "audit:read"
    effect: ClassVar[Effect] = "read"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    before: Count | None = None
    request_operation: Line | None = None
    principal: Name | None = None


class VerifyAudit(Request[AuditReport]):
    """Re-compute the chain of the whole audit log."""

    operation = "governance.verify_audit"
    permission = "audit:read"
    effect: ClassVar[Effect] = "read"


class TraceLineage(Request[Trace]):
    """What a thing came from (``up``) or what came from it (``down``)."""

    operation = "governance.trace_lineage"
    permission = "lineage:read"
    effect: ClassVar[Effect] = "read"
    kind: Name
    id: NodeId
    direction: Literal["up", "down"] = "up"
    depth: Annotated[int, Meta(ge=1, le=100)] = 30


class Collected(Record):
    """What was removed for good, or with ``dry_run`` would be: things by kind, and blobs with their bytes."""

    removed: dict[str, int]
    blobs: Count
    freed_bytes: Count
    dry_run: bool


class CollectGarbage(Request[Collected]):
    """Remove for good what was deleted before ``older_than_days``, and blobs older than ``grace_hours`` that nothing names."""

    operation = "governance.collect_garbage"
    permission = "storage:admin"
    effect: ClassVar[Effect] = "work"
    older_than_days: Annotated[float, Meta(ge=0, le=36_500)] = 30.0
    grace_hours: Annotated[float, Meta(ge=0, le=87_600)] = 24.0
    dry_run: bool = False


class StorageFlaw(Record):
    """Something wrong with what is stored, and whether it was mended.

    ``damaged``: a blob is not what its digest says. ``missing``: a row names a blob that is not there. ``index``: the index
    of packs is wrong. ``pack``: bytes in a pack that are no frame. ``leftover``: of an upload that never ended. ``stray``:
    a file that is no blob. ``database``, ``foreign_key``: SQLite's own findings. ``project``: rows of no project.
    """

    kind: FlawKind
    where: str
    detail: str = ""
    mended: bool = False


class StorageReport(Record):
    """What a check of the storage found; at most 1000 flaws are told, all are counted. Sound: nothing is lost or wrong."""

    blobs: Count
    read: Count
    names: Count
    flaws: tuple[StorageFlaw, ...]
    counts: dict[str, int]
    mended: Count
    sound: bool


class CheckStorage(Request[StorageReport]):
    """Check blobs (``sample`` of them by chance, all for null), the rows that name them, packs, and the database itself.

    With ``repair`` indexes are made anew, leftovers removed and damaged blobs set aside, so that they can be put again.
    """

    operation = "governance.check_storage"
    permission = "storage:admin"
    effect: ClassVar[Effect] = "work"
    sample: Annotated[int, Meta(ge=0, le=10_000_000)] | None = 1000
    repair: bool = False


class CountWaiting(Request[Count]):
    """Events of the project that a subscriber has not had yet; 0 when the platform has caught up with what happened."""

    operation = "governance.count_waiting"
    permission = "audit:read"
    effect: ClassVar[Effect] = "read"


class PrincipalCreated(Event):
    """A principal was made known."""

    kind: ClassVar[str] = "principal.created"
    principal: Name
