"""Handlers of approvals: a version is let pass by others than who made it."""

from __future__ import annotations

from rung.core.errors import Conflict, Denied
from rung.core.ids import new_id
from rung.core.requests import handles
from rung.governance.lineage import link, node
from rung.governance.rules import may
from rung.governance.store import GovernanceStore
from rung.registry import approvals as a
from rung.registry.moving import live_version, store_of, who
from rung.registry.records import ModelVersion
from rung.registry.rules import approval_state
from rung.registry.store.approvals import ApprovalStore
from rung.storage.scope import Scope


@handles(a.SetApprovalRule)
def set_approval_rule(request: a.SetApprovalRule, scope: Scope) -> a.ApprovalRule:
    """The rule now in force. Raises NotFound for an unknown model."""
    name = store_of(scope).model(request.model).name
    rule = a.ApprovalRule(model=name, needed=request.needed, roles=request.roles, set_at=scope.now, set_by=who(scope))
    ApprovalStore(scope.connection, scope.project).set_rule(rule)
    return rule


@handles(a.Approve)
def approve(request: a.Approve, scope: Scope) -> a.Approval:
    """The approval. Raises NotFound; Denied for who registered it; Conflict when it is not what was looked at."""
    version, by = live_version(scope, request.model, request.number), who(scope)
    if version.digest != request.digest:
        raise Conflict(
            f"{version.model}:{version.number} has the digest {version.digest}, not {request.digest}.",
            code="registry.other_digest",
            hint="Look at the version as it is now, then approve that.",
        )
    if by == version.created_by:
        raise Denied(
            f"{by!r} registered {version.model}:{version.number} and cannot approve it.",
            code="registry.own_version",
            hint="Ask somebody else.",
        )
    role = GovernanceStore(scope.connection).role_of(scope.project, scope.principal) or "viewer"
    approval = a.Approval(
        id=new_id(), model=version.model, number=version.number, digest=version.digest, by=by, role=role, created_at=scope.now,
        comment=request.comment, until=request.until,
    )  # fmt: skip
    ApprovalStore(scope.connection, scope.project).add(approval)
    link(scope, node("principal", by), "approved", node("model_version", f"{version.model}:{version.number}"))
    return approval


@handles(a.RevokeApproval)
def revoke_approval(request: a.RevokeApproval, scope: Scope) -> a.Approval:
    """The approval, taken back. Raises NotFound, Denied for somebody else's."""
    store, by = ApprovalStore(scope.connection, scope.project), who(scope)
    held = store.get(request.id)
    if held.by != by and not may(GovernanceStore(scope.connection).role_of(scope.project, scope.principal), "model:manage"):
        raise Denied(f"The approval is {held.by!r}'s.", code="registry.not_yours", hint="Ask them, or a maintainer.")
    if held.revoked_at is None:
        store.revoke(held.id, at=scope.now, by=by)
    return store.get(held.id)


@handles(a.ListApprovals)
def list_approvals(request: a.ListApprovals, scope: Scope) -> a.ApprovalState:
    """Approvals of a version and what is missing. Raises NotFound."""
    version, store = store_of(scope).version(request.model, request.number), ApprovalStore(scope.connection, scope.project)
    return approval_state(store.rule(version.model), store.of(version.model, version.number), version, scope.now, asking=None)


def check_approved(scope: Scope, version: ModelVersion) -> None:
    """Raise Conflict unless a version has the approvals its model asks for, not counting those of who asks now."""
    store = ApprovalStore(scope.connection, scope.project)
    rule = store.rule(version.model)
    if not rule.needed:
        return
    state = approval_state(rule, store.of(version.model, version.number), version, scope.now, asking=who(scope))
    if state.missing:
        raise Conflict(
            f"{version.model}:{version.number} is not approved. {state.missing}",
            code="registry.not_approved",
            hint=f"`rung model approve {version.model} {version.number}` by somebody who did not make it.",
        )
