"""The one door: every request declares what it needs, and every role meets it."""

from __future__ import annotations

import inspect

import pytest

from rung.app.local import LocalTransport
from rung.app.opening import import_operations
from rung.app.platform import Caller
from rung.core.errors import Denied
from rung.core.requests import HANDLERS, OPERATIONS, answer_type
from rung.governance.records import CreatePrincipal, CreateToken, ListAudit, RevokeToken, Role, VerifyAudit, WhoAmI
from rung.governance.rules import VERBS, may

import_operations()


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_a_request_declares_permission_effect_and_answer(operation: str) -> None:
    kind = OPERATIONS[operation]
    noun, _, verb = kind.permission.partition(":")
    assert noun
    assert verb in VERBS
    assert kind.effect in {"read", "write", "work"}
    assert kind.effect != "read" or verb in {"read", "serve", "admin"}, "what only reads needs only the right to read"
    assert answer_type(kind) is not None
    assert (kind.__doc__ or "").strip()
    assert operation.partition(".")[0] == kind.__module__.split(".")[1]


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_a_handler_is_given_request_and_scope(operation: str) -> None:
    assert len(inspect.signature(HANDLERS[OPERATIONS[operation]]).parameters) == 2


@pytest.mark.parametrize("role", ["viewer", "node", "editor", "service", "maintainer", None])
def test_no_role_gets_past_what_it_lacks(transport: LocalTransport, role: Role | None) -> None:
    owner = transport.platform.identify(transport._token)
    caller = Caller(principal=owner.principal, name="probe", kind="user", project=owner.project, role=role)
    for kind in OPERATIONS.values():
        if not may(role, kind.permission):
            with pytest.raises(Denied):
                transport.platform.admit(kind, caller)


def test_a_write_and_its_audit_event_exist_together(transport: LocalTransport) -> None:
    transport.call(CreatePrincipal(name="ann", role="editor"))
    newest = transport.call(ListAudit(limit=1)).items[0]
    assert (newest.operation, newest.outcome, newest.principal) == ("governance.create_principal", "ok", "owner")
    assert transport.call(VerifyAudit()).intact


def test_a_refusal_is_written_down(transport: LocalTransport) -> None:
    transport.call(CreatePrincipal(name="ann", role="viewer"))
    ann = LocalTransport(transport.platform, token=transport.call(CreateToken(principal="ann")).secret)
    with pytest.raises(Denied, match="ann"):
        ann.call(CreatePrincipal(name="bob"))
    newest = transport.call(ListAudit(limit=1)).items[0]
    assert (newest.outcome, newest.principal, newest.code) == ("denied", "ann", "governance.denied")


def test_a_revoked_token_is_worthless_at_once(transport: LocalTransport) -> None:
    transport.call(CreatePrincipal(name="ann"))
    made = transport.call(CreateToken(principal="ann"))
    ann = LocalTransport(transport.platform, token=made.secret)
    assert ann.call(WhoAmI()).principal.name == "ann"
    transport.call(RevokeToken(id=made.token.id))
    with pytest.raises(Denied):
        ann.call(WhoAmI())


def test_no_token_opens_nothing(transport: LocalTransport) -> None:
    for secret in ("", "rung_guess"):
        with pytest.raises(Denied):
            LocalTransport(transport.platform, token=secret).call(WhoAmI())
