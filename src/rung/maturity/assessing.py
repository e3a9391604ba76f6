"""An assessment: every criterion asked of the records, signatures laid over, levels and next steps computed."""

from __future__ import annotations

from datetime import datetime

from rung.core.records import replaced
from rung.maturity import rules
from rung.maturity.capability import CAPABILITIES, Found
from rung.maturity.catalogue import Catalogue, catalogue
from rung.maturity.records import Assessment, Attestation, Criterion, CriterionResult, EvidenceRow, Scale, Status, Target
from rung.maturity.snapshot import Snapshot
from rung.maturity.store import MaturityStore
from rung.storage.scope import Scope

_SCALES: tuple[Scale, ...] = ("google", "microsoft", "five")
_NO_QUERY = "No record of this release can prove it, so it counts as missing."


def assess(scope: Scope) -> Assessment:
    """The project's maturity as its records stand now."""
    book, snapshot = catalogue(), Snapshot(scope)
    store = MaturityStore(scope.connection, scope.project)
    signed = valid(store.attestations(), scope.now)
    targets = store.targets()
    queries = dict(CAPABILITIES.items())
    results = []
    for criterion in book.criteria:
        query = queries.get(criterion.id)
        found = query(snapshot) if query else Found(status="unknown", reason=_NO_QUERY)
        if criterion.id == "V06" and targets:
            rows = tuple(EvidenceRow(kind="target", id=item.scale, label=item.reason[:200]) for item in targets)
            found = Found(status="pass", reason="A target is set, with its reason.", rows=rows, found=len(rows))
        results.append(_result(book, criterion, found, signed.get(criterion.id)))
    return assessment(book, tuple(results), targets, scope.now)


def valid(attestations: tuple[Attestation, ...], now: datetime) -> dict[str, Attestation]:
    """The newest signature of each criterion that is neither expired nor withdrawn."""
    standing = [item for item in attestations if item.withdrawn_at is None and item.expires_at > now]
    return {item.criterion: item for item in reversed(standing)}


def _result(book: Catalogue, criterion: Criterion, found: Found, signed: Attestation | None) -> CriterionResult:
    existing = book.commands.get(criterion.id)
    gates = [f"{scale} {level}" for scale in _SCALES for level, ids in book.scales[scale].gates.items() if criterion.id in ids]
    result = CriterionResult(
        id=criterion.id, dimension=criterion.dimension, text=criterion.text, kind=criterion.kind, status=found.status, reason=found.reason,
        query=criterion.evidence, window_days=found.window_days, found=found.found, rows=found.rows, always=criterion.id in book.always,
        gates=tuple(gates), command=existing or book.planned[criterion.id], planned=existing is None,
    )  # fmt: skip
    return with_signature(result, signed)


def with_signature(result: CriterionResult, signed: Attestation | None) -> CriterionResult:
    """The result with a standing signature laid over it: it lifts what records leave open, never what they contradict in ``auto`` rows."""
    if signed is None or result.status == "pass":
        return result
    told = f"Signed by {signed.signed_by}: {signed.text}"[:1000]
    rows = (*result.rows, EvidenceRow(kind="attestation", id=signed.id, label=signed.signed_by))
    if signed.status == "n.a.":
        return replaced(result, status="n.a.", reason=told, rows=rows)
    status: Status = "attested"
    if result.kind == "mixed":
        status = "pass" if result.status == "manual" else result.status
    elif result.kind == "auto":
        return result
    return replaced(result, status=status, reason=told if status != result.status else result.reason, rows=rows)


def assessment(book: Catalogue, results: tuple[CriterionResult, ...], targets: tuple[Target, ...], now: datetime) -> Assessment:
    """Levels, score, depth and steps of given results."""
    statuses: dict[str, Status] = {result.id: result.status for result in results}
    scales = tuple(rules.scale_result(book, scale, statuses) for scale in _SCALES)
    counts: dict[str, int] = {}
    for status in statuses.values():
        counts[status] = counts.get(status, 0) + 1
    return Assessment(
        at=now,
        scales=scales,
        always=tuple(result for row in book.always for result in results if result.id == row),
        test_score=rules.test_score(book, statuses),
        dimensions=rules.dimensions(book, statuses),
        criteria=results,
        steps=rules.next_steps(book, results, scales, targets),
        counts=counts,
        targets=targets,
        notes=_notes(targets, scales, now),
    )


def _notes(targets: tuple[Target, ...], scales: tuple[object, ...], now: datetime) -> tuple[str, ...]:
    notes = ["Windows count by the time at which records were made here, not by the time the data speaks of."]
    notes += [f"The target on {item.scale} was to be reviewed by {item.review_at:%Y-%m-%d}." for item in targets if item.review_at < now]
    return tuple(notes)
