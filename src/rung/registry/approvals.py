"""Records and requests of approvals: who besides its maker let a version pass, and who said no."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from rung.core.records import Count, Digest, Id, Instant, Line, ModelName, Number, Record, Text
from rung.core.requests import Effect, Request


class ApprovalRule(Record):
    """How many approvals a version of a model needs, and of which roles; no roles means whoever may promote."""

    model: ModelName
    needed: Annotated[int, Meta(ge=0, le=10)] = 0
    roles: tuple[Line, ...] = ()
    set_at: Instant | None = None
    set_by: Line = ""


class Approval(Record):
    """One person's word on one state of a version: it holds for that digest only, and until an instant where one is given.

    One that is ``rejected`` is a no: it stands in the way of promotion, production and deployment until it is taken back.
    """

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
    rejected: bool = False


class ApprovalState(Record):
    """What a version's approvals come to now: those that count, those given, who says no, and what is missing in words."""

    rule: ApprovalRule
    approvals: tuple[Approval, ...]
    counted: Count
    missing: Line = ""
    rejected_by: tuple[Line, ...] = ()


class SetApprovalRule(Request[ApprovalRule]):
    """Say how many approvals versions of a model need before promotion and production; 0 asks for none."""

    operation = "registry.set_approval_rule"
    permission = "model:manage"
    model: ModelName
    needed: Annotated[int, Meta(ge=0, le=10)]
    roles: Annotated[tuple[Line, ...], Meta(max_length=10)] = ()


class GetApprovalRule(Request[ApprovalRule]):
    """How many approvals versions of a model need."""

    operation = "registry.get_approval_rule"
    permission = "model:read"
    effect: ClassVar[Effect] = "read"
    model: ModelName


class Approve(Request[Approval]):
    """Approve a version as it stands: ``digest`` is what was looked at. Never by whoever registered it."""

    operation = "registry.approve"
    permission = "model:promote"
    model: ModelName
    number: Number
    digest: Digest
    comment: Text = ""
    until: Instant | None = None


class Reject(Request[Approval]):
    """Say no to a version as it stands, and why; also by whoever registered it. An approval by the same person ends."""

    operation = "registry.reject"
    permission = "model:promote"
    model: ModelName
    number: Number
    digest: Digest
    comment: Annotated[str, Meta(min_length=1, max_length=10_000, pattern=r"^[^\x00]*$")]


class RevokeApproval(Request[Approval]):
    """Take an approval or a rejection back: one's own, or anybody's with ``model:manage``."""

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
