"""Releases: gates before deployment, canaries, rollbacks, who or what changes production; access and audit."""

from __future__ import annotations

from rung.governance.records import ListTokens, VerifyAudit
from rung.maturity.capability import CAPABILITIES, NO_PRODUCTION, Found, each, failed, passed, row
from rung.maturity.records import EvidenceRow
from rung.maturity.snapshot import Snapshot
from rung.monitoring.sources import ask

_QUARTER, _HALF_YEAR = 90, 180


@CAPABILITIES.member("R01")
def from_registry(snapshot: Snapshot) -> Found:
    """Every production deployment serves registered versions."""
    known = {(v.model, v.number) for v in snapshot.versions}
    missing = [d.name for d in snapshot.production if any((r.model, r.number) not in known for r in d.routes)]
    rows = [row("deployment", f"{d.name}:{d.revision}", ", ".join(f"{r.model}:{r.number}" for r in d.routes)) for d in snapshot.production]
    return each([d.name for d in snapshot.production], missing, "registered versions only", rows)


@CAPABILITIES.member("T06")
def gated_before_serving(snapshot: Snapshot) -> Found:
    """Every version in production passed its gates before the first revision that sent it traffic."""
    if not snapshot.served:
        return NO_PRODUCTION
    rows: list[EvidenceRow] = []
    for item in snapshot.production:
        for route in item.routes:
            version = next((v for v in snapshot.served if (v.model, v.number) == (route.model, route.number)), None)
            if version is None:
                continue
            first = min(
                r.created_at
                for r in snapshot.revisions(item.name)
                if any((x.model, x.number) == (route.model, route.number) for x in r.routes)
            )
            good = [v for v in snapshot.verdicts(version) if v.passed and v.created_at <= first]
            if not good:
                return failed(f"{route.model}:{route.number} went into production without a passing verdict before.", rows)
            rows.append(row("verdict", good[0].id, f"{route.model}:{route.number}"))
    return passed("Every version passed its gates before it served.", rows)


@CAPABILITIES.member("T07")
def slices_checked(snapshot: Snapshot) -> Found:
    """The passing verdict of every version in production looks at slices, with an interval."""
    if not snapshot.served:
        return NO_PRODUCTION
    rows, missing = [], []
    for version in snapshot.served:
        cut = [g for v in snapshot.verdicts(version) if v.passed for g in v.gates if g.slice and g.low is not None]
        missing += [] if cut else [f"{version.model}:{version.number}"]
        rows += [row("gate", g.gate, g.slice) for g in cut]
    return each([f"{v.model}:{v.number}" for v in snapshot.served], missing, "slices in its verdict", rows)


@CAPABILITIES.member("R05")
def released_by_service(snapshot: Snapshot) -> Found:
    """All production changes of the window that brought a version were made by a service account after a passing verdict."""
    changes = [
        (d, r)
        for d in snapshot.production
        for r in snapshot.revisions(d.name)
        if r.created_at >= snapshot.since(_QUARTER) and r.change in {"deploy", "canary", "promote"}
    ]
    if not changes:
        return NO_PRODUCTION
    by_hand = [(d, r) for d, r in changes if r.actor_kind != "service"]
    rows = [row("revision", f"{d.name}:{r.number}", f"{r.change} by {r.created_by}") for d, r in changes]
    if by_hand:
        deployment, revision = by_hand[0]
        return failed(f"{revision.created_by} changed {deployment.name}:{revision.number} by hand.", rows, window_days=_QUARTER)
    return passed(f"All {len(changes)} changes were made by service accounts.", rows, window_days=_QUARTER)


@CAPABILITIES.member("R09")
def canary_used(snapshot: Snapshot) -> Found:
    """The last change of version of every production deployment went through a judged canary."""
    missing, rows = [], []
    for item in snapshot.production:
        brought = [r for r in snapshot.revisions(item.name) if r.change in {"deploy", "promote"}]
        judged = [v for v in snapshot.canary_verdicts(item.name) if v.outcome == "passed"]
        if not brought or brought[0].change != "promote" or not judged:
            missing.append(item.name)
        rows += [row("canary_verdict", v.id, v.outcome) for v in judged]
    return each([d.name for d in snapshot.production], missing, "a judged canary before its last version", rows)


@CAPABILITIES.member("R11")
def rollback_rehearsed(snapshot: Snapshot) -> Found:
    """Every production deployment was rolled back, in earnest or as a drill, in the window, and the time it took is known."""
    missing, rows = [], []
    for item in snapshot.production:
        back = [
            r for r in snapshot.revisions(item.name) if r.change in {"rollback", "drill"} and r.created_at >= snapshot.since(_HALF_YEAR)
        ]
        missing += [] if any(r.duration_ms > 0 for r in back) else [item.name]
        rows += [row("revision", f"{item.name}:{r.number}", f"{r.change} in {r.duration_ms:.0f} ms") for r in back]
    return each([d.name for d in snapshot.production], missing, "a rollback or drill", rows, window_days=_HALF_YEAR)


@CAPABILITIES.member("R14")
def reasons_given(snapshot: Snapshot) -> Found:
    """Every production revision of the window says why it was made."""
    changes = [(d, r) for d in snapshot.production for r in snapshot.revisions(d.name) if r.created_at >= snapshot.since(_QUARTER)]
    if not changes:
        return NO_PRODUCTION
    silent = [f"{d.name}:{r.number}" for d, r in changes if not r.reason]
    rows = tuple(row("revision", f"{d.name}:{r.number}", r.reason) for d, r in changes[:5])
    if silent:
        return failed(f"Revision {silent[0]} gives no reason.", rows, window_days=_QUARTER)
    reason = "Every revision gives its reason; sign which team or role manages releases."
    return Found(status="manual", reason=reason, rows=rows, found=len(changes), window_days=_QUARTER)


@CAPABILITIES.member("G02")
def tokens_expire(snapshot: Snapshot) -> Found:
    """Every request needs a token here; all tokens in use expire."""
    live = [t for t in ask(snapshot.scope, ListTokens()) if t.revoked_at is None and (t.expires_at is None or t.expires_at > snapshot.now)]
    forever = [t for t in live if t.expires_at is None]
    rows = [row("token", t.id, f"{t.principal} {t.label}") for t in live]
    if not live:
        return Found(status="unknown", reason="No token is in use.")
    return (
        failed(f"The token {forever[0].label!r} of {forever[0].principal} never expires.", rows)
        if forever
        else passed("All tokens expire.", rows)
    )


@CAPABILITIES.member("G03")
def audit_holds(snapshot: Snapshot) -> Found:
    """The audit chain verifies. Reading predictions leaves no audit event in this release, so this is half."""
    report = ask(snapshot.scope, VerifyAudit())
    rows = (row("audit", report.events, report.head),)
    if not report.intact:
        return failed(f"The audit chain breaks at event {report.broken_at}.", rows)
    return Found(status="manual", reason=f"{report.events} events verify; reads are not among them.", rows=rows, found=report.events)
