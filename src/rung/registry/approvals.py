"""Records and requests of approvals: who besides its maker let a version pass."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from rung.core.records import Digest, Id, Instant, Line, ModelName, Number, Record, Text
from rung.core.requests import Effect, Request


class ApprovalRule(Record):
    """How many approvals a version of a model needs, and of which roles; no roles means whoever may promote."""

    model: ModelName
    needed: Annotated[int, Meta(ge=0, le=10)] = 0
    roles: tuple[Line, ...] = ()
    set_at: Instant | None = None
    set_by: Line = ""


class Approval(Record):
    """One person's word for one state of a version: it holds for that digest only, and until an instant where one is given."""

    id: Id
    model: ModelName
    number: Number
    digest: Digest
    by: Line
    role: Line
    created_at: Instant
    comment: Text = ""
    until: Instant | None = None
    revoked_at: Instant | None = None
    revoked_by: Line = ""


class ApprovalState(Record):
    """What a version's approvals come to now: those that count, those given, and what is missing in words."""

    rule: ApprovalRule
    approvals: tuple[Approval, ...]
    counted: int
    missing: Line = ""


class SetApprovalRule(Request[ApprovalRule]):
    """Say how many approvals versions of a model need before promotion and production; 0 asks for none."""

    operation = "registry.set_approval_rule"
    permission = "model:manage"
    model: ModelName
    needed: Annotated[int, Meta(ge=0, le=10)]
    roles: Annotated[tuple[Line, ...], Meta(max_length=10)] = ()


class Approve(Request[Approval]):
    """Approve a version as it stands: ``digest`` is what was looked at. Never by whoever registered it."""

    operation = "registry.approve"
    permission = "model:promote"
    model: ModelName
    number: Number
    digest: Digest
    comment: Text = ""
    until: Instant | None = None


class RevokeApproval(Request[Approval]):
    """Take an approval back: one's own, or anybody's with ``model:manage``."""

    operation = "registry.revoke_approval"
    permission = "model:promote"
    id: Id
    reason: Text = ""


class ListApprovals(Request[ApprovalState]):
    """Approvals of a version and what is missing."""

    operation = "registry.list_approvals"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName
    number: Number
