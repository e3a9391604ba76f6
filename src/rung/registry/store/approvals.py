"""Rows of approvals and of the rules that ask for them."""

from __future__ import annotations

from typing import Any

import msgspec

from rung.core.errors import NotFound
from rung.core.records import prepared, replaced, values_of
from rung.registry.approvals import Approval, ApprovalRule
from rung.storage.sql import Boolean, Column, Connection, Index, Integer, String, Text, select
from rung.storage.tables import InstantType, JsonType, id_column, project_column, table

RULE = table(
    "approval_rule",
    Column("project", String(32), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("record", JsonType, nullable=False),
)
APPROVAL = table(
    "approval",
    id_column(),
    project_column(),
    Column("model", String(256), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(80), nullable=False),
    Column("by", String(128), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", InstantType, nullable=False),
    Column("comment", Text, nullable=False),
    Column("until", InstantType),
    Column("revoked_at", InstantType),
    Column("revoked_by", String(128), nullable=False),
    Column("rejected", Boolean, nullable=False),
    Index("ix_approval_version", "project", "model", "number"),
)


class ApprovalStore:
    """Approvals of one project on one connection."""

    def __init__(self, connection: Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def rule(self, model: str) -> ApprovalRule:
        """The rule of a model; one that asks for nothing while none was set."""
        query = select(RULE.c.record).where(RULE.c.project == self._project, RULE.c.model == model)
        found = self._connection.execute(query).scalar()
        return ApprovalRule(model=model) if found is None else replaced(msgspec.convert(found, prepared(ApprovalRule)), model=model)

    def set_rule(self, rule: ApprovalRule) -> None:
        """Keep a rule in place of the one before."""
        self._connection.execute(RULE.delete().where(RULE.c.project == self._project, RULE.c.model == rule.model))
        self._connection.execute(RULE.insert().values(project=self._project, model=rule.model, record=rule))

    def add(self, approval: Approval) -> None:
        """Enter an approval."""
        self._connection.execute(APPROVAL.insert().values(project=self._project, **values_of(approval)))

    def get(self, approval: str) -> Approval:
        """One approval. Raises NotFound."""
        found = self._found(APPROVAL.c.id == approval)
        if not found:
            raise NotFound(f"There is no approval {approval!r}.", code="registry.no_approval", hint="`rung model approvals` lists them.")
        return found[0]

    def of(self, model: str, number: int) -> tuple[Approval, ...]:
        """Approvals of a version, oldest first."""
        return tuple(self._found(APPROVAL.c.model == model, APPROVAL.c.number == number))

    def revoke(self, approval: str, *, at: Any, by: str) -> None:
        """Note that an approval was taken back."""
        self._connection.execute(APPROVAL.update().where(self._mine(), APPROVAL.c.id == approval).values(revoked_at=at, revoked_by=by))

    def forget_rule(self, model: str) -> None:
        """Let a model ask for nothing."""
        self._connection.execute(RULE.delete().where(RULE.c.project == self._project, RULE.c.model == model))

    def rename(self, model: str, name: str) -> None:
        """Let a model's approvals follow its new name."""
        for of in (RULE, APPROVAL):
            self._connection.execute(of.update().where(of.c.project == self._project, of.c.model == model).values(model=name))

    def _found(self, *where: Any) -> list[Approval]:
        rows = self._connection.execute(select(APPROVAL).where(self._mine(), *where).order_by(APPROVAL.c.id)).mappings()
        return [Approval(**{name: row[name] for name in Approval.__struct_fields__}) for row in rows]

    def _mine(self) -> Any:
        return APPROVAL.c.project == self._project
