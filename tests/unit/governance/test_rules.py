"""Roles and the chain of the audit log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.core.records import replaced
from rung.governance.records import AuditEvent, Role
from rung.governance.rules import GENESIS, chained, content, may, token_valid, verify

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def log(n: int) -> list[AuditEvent]:
    events: list[AuditEvent] = []
    for seq in range(1, n + 1):
        previous = events[-1].digest if events else GENESIS
        event = AuditEvent(
            seq=seq, at=NOW, project="p", principal="ann", operation="data.add", target=f"d{seq}",
            outcome="ok", code="", request={"name": f"d{seq}"}, previous=previous, digest="",
        )  # fmt: skip
        events.append(replaced(event, digest=chained(previous, content(event))))
    return events


def test_an_untouched_log_holds() -> None:
    report = verify(log(5))
    assert (report.intact, report.events) == (True, 5)


@given(st.integers(0, 4), st.sampled_from(["principal", "target", "operation"]))
def test_any_changed_field_is_found_where_it_is(index: int, field: str) -> None:
    events = log(5)
    events[index] = replaced(events[index], **{field: "forged"})
    report = verify(events)
    assert (report.intact, report.broken_at) == (False, index + 1)


def test_a_removed_event_is_found() -> None:
    events = log(5)
    del events[2]
    assert verify(events).broken_at == 3


def test_a_forged_event_with_a_fresh_digest_breaks_the_one_after() -> None:
    events = log(3)
    forged = replaced(events[1], principal="eve")
    events[1] = replaced(forged, digest=chained(forged.previous, content(forged)))
    assert verify(events).broken_at == 3


@pytest.mark.parametrize(
    ("role", "permission", "allowed"),
    [
        ("viewer", "run:read", True),
        ("viewer", "run:write", False),
        ("node", "deployment:serve", True),
        ("node", "deployment:read", False),
        ("node", "prediction:predict", False),
        ("editor", "prediction:serve", False),
        ("editor", "run:write", True),
        ("editor", "model:promote", False),
        ("service", "model:promote", True),
        ("service", "model:override", False),
        ("maintainer", "model:override", True),
        ("maintainer", "token:admin", False),
        ("owner", "token:admin", True),
        (None, "run:read", False),
    ],
)
def test_roles_hold_what_they_say(role: Role | None, permission: str, allowed: bool) -> None:
    assert may(role, permission) is allowed


def test_a_token_opens_until_it_expires_or_is_revoked() -> None:
    later = NOW + timedelta(seconds=1)
    assert token_valid(expires_at=later, revoked_at=None, disabled_at=None, now=NOW)
    assert not token_valid(expires_at=NOW, revoked_at=None, disabled_at=None, now=NOW)
    assert not token_valid(expires_at=None, revoked_at=NOW, disabled_at=None, now=NOW)
    assert not token_valid(expires_at=None, revoked_at=None, disabled_at=NOW, now=NOW)
