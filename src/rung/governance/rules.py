"""Which role may do what, and how audit events are chained."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from rung.core.digests import digest_of
from rung.governance.records import AuditEvent, AuditReport, Role

VERBS = ("read", "write", "run", "predict", "serve", "deploy", "promote", "override", "manage", "admin")
_ROLES: dict[Role, frozenset[str]] = {
    "viewer": frozenset({"read"}),
    "node": frozenset({"serve"}),
    "editor": frozenset({"read", "write", "run", "predict"}),
    "service": frozenset({"read", "write", "run", "predict", "serve", "deploy", "promote"}),
    "maintainer": frozenset({"read", "write", "run", "predict", "serve", "deploy", "promote", "override", "manage"}),
    "owner": frozenset(VERBS),
}
GENESIS = "blake3:" + "0" * 64


def may(role: Role | None, permission: str) -> bool:
    """Whether a role holds a ``noun:verb`` permission. No role holds none."""
    return role is not None and permission.rpartition(":")[2] in _ROLES[role]


def token_valid(*, expires_at: datetime | None, revoked_at: datetime | None, disabled_at: datetime | None, now: datetime) -> bool:
    """Whether a token still opens the door."""
    return revoked_at is None and disabled_at is None and (expires_at is None or now < expires_at)


def chained(previous: str, content: dict[str, Any]) -> str:
    """Digest of an audit event: over the digest before it and its own canonical JSON."""
    return digest_of(previous.encode() + msgspec.json.encode(content, order="sorted"))


def content(event: AuditEvent) -> dict[str, Any]:
    """What of an audit event is hashed: all but its own digest and that of the event before."""
    plain: dict[str, Any] = msgspec.to_builtins(event)
    return {name: value for name, value in plain.items() if name not in {"digest", "previous"}}


def verify(events: list[AuditEvent], head: str = GENESIS) -> AuditReport:
    """Check that each event follows the one before and still has the digest it was given."""
    expected = events[0].seq if events else 1
    for event in events:
        if event.seq != expected:
            return AuditReport(events=event.seq, intact=False, head=head, broken_at=expected, reason=f"Event {expected} is missing.")
        if event.previous != head or chained(head, content(event)) != event.digest:
            return AuditReport(events=event.seq, intact=False, head=head, broken_at=event.seq, reason=f"Event {event.seq} was changed.")
        head, expected = event.digest, expected + 1
    return AuditReport(events=len(events), intact=True, head=head)
