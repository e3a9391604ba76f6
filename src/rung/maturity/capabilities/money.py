"""Value: goals, matrices, reports, ledger, baseline."""

from __future__ import annotations

from rung.maturity.capability import CAPABILITIES, Found, each, failed, passed, row
from rung.maturity.records import EvidenceRow
from rung.maturity.snapshot import Snapshot

_MONTH, _HALF_YEAR = 30, 180


@CAPABILITIES.member("V01")
def goals_written(snapshot: Snapshot) -> Found:
    """Every production model has a goal with its figure and owner, reviewed in the window."""
    fresh = {m: g for m, g in snapshot.goals.items() if g.reviewed_at >= snapshot.since(_HALF_YEAR)}
    rows = [row("goal", model, f"{goal.kpi}, {goal.owner}") for model, goal in fresh.items()]
    return each(snapshot.models, [m for m in snapshot.models if m not in fresh], "a reviewed goal", rows, window_days=_HALF_YEAR)


@CAPABILITIES.member("V02")
def matrix_set(snapshot: Snapshot) -> Found:
    """Every production model has a value matrix with a currency."""
    rows = [row("value_matrix", f"{m.model}:{m.number}", m.currency) for m in snapshot.matrices.values()]
    return each(snapshot.models, [m for m in snapshot.models if m not in snapshot.matrices], "a value matrix", rows)


@CAPABILITIES.member("V03")
def roi_reported(snapshot: Snapshot) -> Found:
    """Every production model has a value report of the window, from matured outcomes, that says what it is compared with."""
    held = {r.model: r for r in reversed(snapshot.reports) if r.created_at >= snapshot.since(_MONTH + 1) and r.matured > 0}
    real = {m: r for m, r in held.items() if r.basis in {"holdout", "shadow", "before_after"}}
    rows = [row("value_report", f"{r.model}:{r.number}", f"{r.matured} outcomes, basis {r.basis}") for r in held.values()]
    if snapshot.models and all(m in held for m in snapshot.models) and any(m not in real for m in snapshot.models):
        reason = "Reports exist, but compare with no model at all; a holdout, a shadow or a figure from before would be a real baseline."
        return Found(status="manual", reason=reason, rows=tuple(rows[:5]), found=len(rows), window_days=_MONTH + 1)
    missing = [m for m in snapshot.models if m not in real]
    return each(snapshot.models, missing, "a value report from outcomes", rows, window_days=_MONTH + 1)


@CAPABILITIES.member("V04")
def costs_tracked(snapshot: Snapshot) -> Found:
    """Every production model has ledger entries of compute and serving made in the window."""
    recent = [e for e in snapshot.costs if e.created_at >= snapshot.since(_MONTH)]
    kinds = {(e.model, e.kind) for e in recent}
    missing = [m for m in snapshot.models if (m, "compute") not in kinds or (m, "serving") not in kinds]
    rows = [row("ledger_entry", e.id, f"{e.kind} {e.amount:.4f} {e.currency}") for e in recent]
    return each(snapshot.models, missing, "booked compute and serving costs", rows, window_days=_MONTH)


@CAPABILITIES.member("V05")
def baseline_alive(snapshot: Snapshot) -> Found:
    """Every production model's newest report compares with a holdout or a shadow."""
    newest = {r.model: r for r in reversed(snapshot.reports)}
    missing = [m for m in snapshot.models if m not in newest or newest[m].basis not in {"holdout", "shadow"}]
    return each(
        snapshot.models, missing, "a holdout or shadow", [row("value_report", f"{r.model}:{r.number}", r.basis) for r in newest.values()]
    )


@CAPABILITIES.member("C01")
def policy_declared(snapshot: Snapshot) -> Found:
    """Every production model has a retraining policy with a reason, set by a principal."""
    rows = [row("retraining_policy", f"{p.model}:{p.number}", f"{p.policy}, by {p.created_by}") for p in snapshot.policies.values()]
    return each(snapshot.models, [m for m in snapshot.models if m not in snapshot.policies], "a retraining policy", rows)


@CAPABILITIES.member("H06")
def owners_named(snapshot: Snapshot) -> Found:
    """Every production model names an owner and a backup."""
    named = {m: g for m, g in snapshot.goals.items() if g.owner and g.backup}
    missing = [m for m in snapshot.models if m not in named]
    found = each(snapshot.models, missing, "an owner and a backup", [row("goal", m, f"{g.owner}, {g.backup}") for m, g in named.items()])
    if found.status != "pass":
        return found
    return Found(status="manual", reason="Owner and backup are named; sign that they know it.", rows=found.rows, found=found.found)


@CAPABILITIES.member("H05")
def not_one_person(snapshot: Snapshot) -> Found:
    """Every production deployment was changed by at least two people in the window."""
    if not snapshot.production:
        return each((), (), "", ())
    rows: list[EvidenceRow] = []
    for item in snapshot.production:
        recent = [r for r in snapshot.revisions(item.name) if r.created_at >= snapshot.since(_HALF_YEAR) and r.actor_kind == "user"]
        people = {r.created_by for r in recent}
        if len(people) < 2:  # noqa: PLR2004 - two people is the criterion
            return failed(f"{item.name} was changed by {len(people)} people.", rows, window_days=_HALF_YEAR)
        rows.append(row("deployment", item.name, ", ".join(sorted(people))))
    return passed("Every deployment was changed by at least two people.", rows, window_days=_HALF_YEAR)
