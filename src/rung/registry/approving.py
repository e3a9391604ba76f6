"""Handlers of approvals: a version is let pass by others than who made it."""

from __future__ import annotations

from datetime import datetime

from rung.core.errors import Conflict, Denied, Invalid
from rung.core.ids import new_id
from rung.core.requests import handles
from rung.governance.lineage import link, node
from rung.governance.rules import may
from rung.governance.store import GovernanceStore
from rung.registry import approvals as a
from rung.registry.moving import live_version, store_of
from rung.registry.records import ModelVersion
from rung.registry.rules import approval_state
from rung.registry.store.approvals import ApprovalStore
from rung.storage.scope import Scope


@handles(a.SetApprovalRule)
def set_approval_rule(request: a.SetApprovalRule, scope: Scope) -> a.ApprovalRule:
    """The rule now in force. Raises NotFound for an unknown model."""
    name = store_of(scope).model(request.model).name
    rule = a.ApprovalRule(model=name, needed=request.needed, roles=request.roles, set_at=scope.now, set_by=scope.who)
    ApprovalStore(scope.connection, scope.project).set_rule(rule)
    return rule


@handles(a.GetApprovalRule)
def get_approval_rule(request: a.GetApprovalRule, scope: Scope) -> a.ApprovalRule:
    """The rule in force. Raises NotFound for an unknown model."""
    return ApprovalStore(scope.connection, scope.project).rule(store_of(scope).model(request.model).name)


@handles(a.Approve)
def approve(request: a.Approve, scope: Scope) -> a.Approval:
    """The approval. Raises NotFound; Denied for who registered it; Conflict when it is not what was looked at."""
    version, by = _looked_at(scope, request), scope.who
    if by == version.created_by:
        raise Denied(
            f"{by!r} registered {version.model}:{version.number} and cannot approve it.",
            code="registry.own_version",
            hint="Ask somebody else.",
        )
    if request.until is not None and request.until <= scope.now:
        raise Invalid(
            f"The approval would have ended at {request.until}.", code="registry.ended", hint="Let it end later, or leave it open."
        )
    return _said(scope, version, by, request.comment, until=request.until)


@handles(a.Reject)
def reject(request: a.Reject, scope: Scope) -> a.Approval:
    """The rejection. Raises NotFound; Conflict when it is not what was looked at."""
    return _said(scope, _looked_at(scope, request), scope.who, request.comment, rejected=True)


@handles(a.RevokeApproval)
def revoke_approval(request: a.RevokeApproval, scope: Scope) -> a.Approval:
    """The approval or rejection, taken back. Raises NotFound, Denied for somebody else's."""
    store, by = ApprovalStore(scope.connection, scope.project), scope.who
    held = store.get(request.id)
    if held.by != by and not may(GovernanceStore(scope.connection).role_of(scope.project, scope.principal), "model:manage"):
        raise Denied(f"It was {held.by!r} who said so.", code="registry.not_yours", hint="Ask them, or a maintainer.")
    if held.revoked_at is None:
        store.revoke(held.id, at=scope.now, by=by)
    return store.get(held.id)


@handles(a.ListApprovals)
def list_approvals(request: a.ListApprovals, scope: Scope) -> a.ApprovalState:
    """Approvals of a version and what is missing. Raises NotFound."""
    version, store = store_of(scope).version(request.model, request.number), ApprovalStore(scope.connection, scope.project)
    return approval_state(store.rule(version.model), store.of(version.model, version.number), version, scope.now, asking=None)


def check_approved(scope: Scope, version: ModelVersion) -> None:
    """Raise Conflict for a version that somebody rejected, or that lacks approvals by others than who asks now."""
    store = ApprovalStore(scope.connection, scope.project)
    rule, approvals = store.rule(version.model), store.of(version.model, version.number)
    if not rule.needed and not approvals:
        return
    state = approval_state(rule, approvals, version, scope.now, asking=scope.who)
    if state.rejected_by:
        raise Conflict(
            f"{version.model}:{version.number} is rejected. {state.missing}",
            code="registry.rejected",
            hint=f"`rung model approvals {version.model} {version.number}` shows why; who said so may take it back.",
        )
    if state.missing:
        raise Conflict(
            f"{version.model}:{version.number} is not approved. {state.missing}",
            code="registry.not_approved",
            hint=f"`rung model approve {version.model} {version.number}` by somebody who did not make it.",
        )


def _looked_at(scope: Scope, request: a.Approve | a.Reject) -> ModelVersion:
    version = live_version(scope, request.model, request.number)
    if version.digest != request.digest:
        raise Conflict(
            f"{version.model}:{version.number} has the digest {version.digest}, not {request.digest}.",
            code="registry.other_digest",
            hint="Look at the version as it is now, then decide.",
        )
    return version


def _said(
    scope: Scope, version: ModelVersion, by: str, comment: str, *, until: datetime | None = None, rejected: bool = False
) -> a.Approval:
    """Enter somebody's word in place of what they said of the version before."""
    store = ApprovalStore(scope.connection, scope.project)
    for earlier in store.of(version.model, version.number):
        if earlier.by == by and earlier.revoked_at is None:
            store.revoke(earlier.id, at=scope.now, by=by)
    approval = a.Approval(
        id=new_id(), model=version.model, number=version.number, digest=version.digest, by=by, role=_role(scope), created_at=scope.now,
        comment=comment, until=until, rejected=rejected,
    )  # fmt: skip
    store.add(approval)
    relation = "rejected" if rejected else "approved"
    link(scope, node("principal", by), relation, node("model_version", f"{version.model}:{version.number}"))
    return approval


def _role(scope: Scope) -> str:
    return GovernanceStore(scope.connection).role_of(scope.project, scope.principal) or "viewer"
