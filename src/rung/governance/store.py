"""Tables of governance."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rung.core.errors import NotFound
from rung.core.ids import new_id
from rung.core.records import values_of
from rung.governance.records import AuditEvent, Edge, Grant, Node, Principal, Project, Token
from rung.storage.plain import Plain
from rung.storage.raw import Raw
from rung.storage.sql import (
    BigInteger,
    Column,
    Connection,
    Index,
    String,
    Text,
    UniqueConstraint,
    and_,
    func,
    literal,
    select,
)
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

PROJECT = table(
    "project", id_column(), Column("name", String(128), nullable=False, unique=True), Column("created_at", InstantType, nullable=False)
)
PRINCIPAL = table(
    "principal",
    id_column(),
    Column("name", String(128), nullable=False, unique=True),
    Column("kind", String(16), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("disabled_at", InstantType),
)
GRANT = table(
    "role_grant",
    Column("project", String(32), primary_key=True),
    Column("principal", String(32), primary_key=True),
    Column("role", String(16), nullable=False),
)
TOKEN = table(
    "token",
    id_column(),
    Column("principal", String(32), nullable=False),
    project_column(),
    Column("secret_digest", String(80), nullable=False, unique=True),
    Column("label", Text, nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("expires_at", InstantType),
    Column("revoked_at", InstantType),
)
AUDIT = table(
    "audit_event",
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", InstantType, nullable=False),
    project_column(),
    Column("principal", String(128), nullable=False),
    Column("operation", String(128), nullable=False),
    Column("target", Text, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("code", String(128), nullable=False),
    Column("request", JsonType, nullable=False),
    Column("previous", String(80), nullable=False),
    Column("digest", String(80), nullable=False),
    Index("ix_audit_event_project", "project", "seq"),
    info={"keeps_blobs": False},
)
EDGE = table(
    "lineage_edge",
    id_column(),
    project_column(),
    Column("source_kind", String(128), nullable=False),
    Column("source_id", String(300), nullable=False),
    Column("relation", String(128), nullable=False),
    Column("target_kind", String(128), nullable=False),
    Column("target_id", String(300), nullable=False),
    Column("at", InstantType, nullable=False),
    UniqueConstraint("project", "source_kind", "source_id", "relation", "target_kind", "target_id", name="uq_lineage_edge"),
    Index("ix_lineage_edge_target", "project", "target_kind", "target_id"),
)


# Statements of every request are plain ones: building and wrapping one costs more than running it.
_AUDIT, _PROJECT, _PRINCIPAL, _GRANT, _TOKEN, _EDGE = (Plain(held) for held in (AUDIT, PROJECT, PRINCIPAL, GRANT, TOKEN, EDGE))


class GovernanceStore:
    """Rows of governance on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_project(self, project: Project) -> None:
        """Enter a project; the unique name may refuse it."""
        _PROJECT.insert(self._connection, values_of(project))

    def find_project(self, name_or_id: str) -> Project | None:
        """A project by name or id."""
        row = _PROJECT.first(self._connection, "name = ? OR id = ?", (name_or_id, name_or_id))
        return None if row is None else Project(**row)

    def projects_of(self, principal: str) -> tuple[Project, ...]:
        """Projects on which a principal holds a role, by name."""
        query = select(PROJECT).join(GRANT, GRANT.c.project == PROJECT.c.id).where(GRANT.c.principal == principal).order_by(PROJECT.c.name)
        return tuple(Project(**row) for row in self._connection.execute(query).mappings())

    def project_names(self) -> dict[str, str]:
        """Every project's name by its id."""
        return {row["id"]: row["name"] for row in _PROJECT.rows(self._connection, columns=("id", "name"))}

    def add_principal(self, principal: Principal) -> None:
        """Enter a principal; the unique name may refuse it."""
        values = {name: getattr(principal, name) for name in ("id", "name", "kind", "created_at", "disabled_at")}
        _PRINCIPAL.insert(self._connection, values)

    def find_principal(self, name_or_id: str) -> Principal | None:
        """A principal by name or id."""
        row = _PRINCIPAL.first(self._connection, "name = ? OR id = ?", (name_or_id, name_or_id))
        return None if row is None else Principal(**row)

    def principal(self, name: str) -> Principal:
        """A principal by name. Raises NotFound."""
        found = self.find_principal(name)
        if found is None:
            raise NotFound(f"There is no principal {name!r}.", code="governance.no_principal", hint="`rung principal list` shows them.")
        return found

    def set_role(self, project: str, principal: str, role: str) -> None:
        """Give a role in place of any other."""
        Raw(self._connection).change("DELETE FROM role_grant WHERE project = ? AND principal = ?", (project, principal))
        _GRANT.insert(self._connection, {"project": project, "principal": principal, "role": role})

    def role_of(self, project: str, principal: str) -> Any:
        """The role a principal holds on a project, None without one."""
        row = _GRANT.first(self._connection, "project = ? AND principal = ?", (project, principal), columns=("role",))
        return None if row is None else row["role"]

    def grants(self, project: str) -> tuple[Grant, ...]:
        """Members of a project by name."""
        query = (
            select(PRINCIPAL.c.name, GRANT.c.role)
            .join(PRINCIPAL, PRINCIPAL.c.id == GRANT.c.principal)
            .where(GRANT.c.project == project)
            .order_by(PRINCIPAL.c.name)
        )
        return tuple(Grant(project=project, principal=row.name, role=row.role) for row in self._connection.execute(query))

    def add_token(self, token: Token, principal: str, secret_digest: str) -> None:
        """Enter a token by the digest of its secret."""
        values = {"id": token.id, "principal": principal, "project": token.project, "secret_digest": secret_digest, "label": token.label}
        instants = {"created_at": token.created_at, "expires_at": token.expires_at, "revoked_at": token.revoked_at}
        _TOKEN.insert(self._connection, values | instants)

    def find_token(self, secret_digest: str) -> tuple[Token, Principal] | None:
        """A token and its principal by the digest of the secret."""
        row = _TOKEN.first(self._connection, "secret_digest = ?", (secret_digest,))
        if row is None:
            return None
        holder = self.find_principal(row["principal"])
        return None if holder is None else (_token(row, holder.name), holder)

    def tokens(self, project: str) -> tuple[Token, ...]:
        """Tokens of a project, newest first."""
        query = (
            select(TOKEN, PRINCIPAL.c.name.label("holder"))
            .join(PRINCIPAL, PRINCIPAL.c.id == TOKEN.c.principal)
            .where(TOKEN.c.project == project)
            .order_by(TOKEN.c.id.desc())
        )
        return tuple(_token(row, row["holder"]) for row in self._connection.execute(query).mappings())

    def revoke_token(self, project: str, token: str, at: datetime) -> Token:
        """Mark a token revoked. Raises NotFound."""
        found = next((t for t in self.tokens(project) if t.id == token), None)
        if found is None:
            raise NotFound(f"There is no token {token!r}.", code="governance.no_token", hint="`rung token list` shows them.")
        self._connection.execute(TOKEN.update().where(TOKEN.c.id == token).values(revoked_at=at))
        return next(t for t in self.tokens(project) if t.id == token)

    def audit_head(self) -> tuple[int, str] | None:
        """Number and digest of the newest audit event; on PostgreSQL writers queue here until they commit."""
        if self._connection.dialect.name == "postgresql":
            Raw(self._connection).rows("SELECT pg_advisory_xact_lock(7475)")
        row = _AUDIT.first(self._connection, "", tail="ORDER BY seq DESC", columns=("seq", "digest"))
        return None if row is None else (row["seq"], row["digest"])

    def add_audit(self, event: AuditEvent) -> None:
        """Append an audit event."""
        _AUDIT.insert(self._connection, values_of(event))

    def audit(
        self,
        *,
        project: str | None,
        limit: int | None,
        before: int | None = None,
        operation: str | None = None,
        principal: str | None = None,
    ) -> list[AuditEvent]:
        """Audit events, newest first; all projects when none is named."""
        query = select(AUDIT).order_by(AUDIT.c.seq.desc())
        for held, wanted in ((AUDIT.c.project, project), (AUDIT.c.operation, operation), (AUDIT.c.principal, principal)):
            query = query if wanted is None else query.where(held == wanted)
        query = query if before is None else query.where(AUDIT.c.seq < before)
        query = query if limit is None else query.limit(limit)
        return [AuditEvent(**row) for row in self._connection.execute(query).mappings()]

    def audit_in_order(self) -> list[AuditEvent]:
        """The whole log, oldest first."""
        return self.audit(project=None, limit=None)[::-1]

    def count_audit(self, project: str) -> int:
        """Number of audit events of a project."""
        return int(self._connection.execute(select(func.count()).select_from(AUDIT).where(AUDIT.c.project == project)).scalar() or 0)

    def add_edges(self, project: str, edges: list[Edge]) -> None:
        """Append edges; one that is already there stays as it is."""
        rows = [
            {
                "id": new_id(), "project": project, "source_kind": edge.source.kind, "source_id": edge.source.id, "relation": edge.relation,
                "target_kind": edge.target.kind, "target_id": edge.target.id, "at": edge.at,
            }
            for edge in edges
        ]  # fmt: skip
        _EDGE.insert_new(self._connection, rows)

    def rename_nodes(self, project: str, kind: str, prefix: str, to: str) -> None:
        """Let every node of a kind whose id begins with a prefix begin with another."""
        for of, key in ((EDGE.c.source_kind, EDGE.c.source_id), (EDGE.c.target_kind, EDGE.c.target_id)):
            where = and_(EDGE.c.project == project, of == kind, func.substr(key, 1, len(prefix)) == prefix)
            renamed = literal(to).concat(func.substr(key, len(prefix) + 1))
            self._connection.execute(EDGE.update().where(where).values({key.name: renamed}))

    def edges_at(self, project: str, nodes: list[Node], *, up: bool) -> list[Edge]:
        """Edges that lead into the nodes (``up``) or out of them."""
        kind, key = (EDGE.c.target_kind, EDGE.c.target_id) if up else (EDGE.c.source_kind, EDGE.c.source_id)
        found: list[Edge] = []
        for node in nodes:
            query = select(EDGE).where(EDGE.c.project == project, kind == node.kind, key == node.id).order_by(EDGE.c.id)
            found += [_edge(row) for row in self._connection.execute(query).mappings()]
        return found


def _token(row: Any, principal: str) -> Token:
    names = ("id", "project", "label", "created_at", "expires_at", "revoked_at")
    return Token(principal=principal, **{name: row[name] for name in names})


def _edge(row: Any) -> Edge:
    return Edge(
        source=Node(kind=row["source_kind"], id=row["source_id"]),
        relation=row["relation"],
        target=Node(kind=row["target_kind"], id=row["target_id"]),
        at=row["at"],
    )
