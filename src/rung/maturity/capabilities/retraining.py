"""Retraining: triggered by production, only with mature labels, a curable cause, a proved gain, gates and a canary."""

from __future__ import annotations

from rung.maturity.capability import CAPABILITIES, Found, failed, passed, row
from rung.maturity.records import EvidenceRow
from rung.maturity.snapshot import Snapshot
from rung.value.policy import DATA_FAULTS
from rung.value.records import Decision

_BY_PRODUCTION = {"alert", "decision", "drift", "incident", "performance"}
_MONTH, _QUARTER, _HALF_YEAR = 30, 90, 180


def _retrainings(snapshot: Snapshot, days: int) -> list[Decision]:
    return [d for d in snapshot.decisions if d.action == "retrain" and d.created_at >= snapshot.since(days)]


def _rows(decisions: list[Decision]) -> list[EvidenceRow]:
    return [row("decision", d.number, f"{d.action}: {d.cause}") for d in decisions]


def _none(days: int) -> Found:
    return Found(status="unknown", reason="No retraining was decided in the window.", window_days=days)


@CAPABILITIES.member("C02")
def triggered_by_production(snapshot: Snapshot) -> Found:
    """An enabled trigger waits for what production tells, was called upon in the window, and its decisions name an incident."""
    held = [t for t in snapshot.triggers if t.kind in _BY_PRODUCTION]
    if not held:
        return failed("No trigger waits for alerts, incidents, drift, performance or decisions.", window_days=_MONTH)
    ids = {t.id for t in held}
    called = [f for f in snapshot.fires if f.trigger in ids and f.at >= snapshot.since(_MONTH)]
    if not called:
        return failed(
            "No trigger that waits for production was called upon.", [row("trigger", t.name, t.kind) for t in held], window_days=_MONTH
        )
    bare = [d for d in _retrainings(snapshot, _MONTH) if d.incident is None]
    if bare:
        return failed(f"Decision {bare[0].number} names no incident.", _rows(bare), window_days=_MONTH)
    return passed(f"Production called {len(called)} times.", [row("trigger_fire", f.id, f.reason) for f in called], window_days=_MONTH)


@CAPABILITIES.member("C03")
def labels_were_mature(snapshot: Snapshot) -> Found:
    """Every decision to retrain recorded a share of labelled rows at or above its policy's."""
    held = _retrainings(snapshot, _QUARTER)
    if not held:
        return _none(_QUARTER)
    young = [d for d in held if not d.evidence.labels_ready or d.evidence.labelled_share < d.settings.min_labelled]
    if young:
        return failed(f"Decision {young[0].number} retrained on {young[0].evidence.labelled_share:.0%} of the labels.", _rows(held))
    return passed(f"All {len(held)} decisions waited for labels.", _rows(held), window_days=_QUARTER)


@CAPABILITIES.member("C04")
def cause_was_curable(snapshot: Snapshot) -> Found:
    """Every incident's decision names cause and action; no retraining had a data fault for a cause or beside it."""
    held = [d for d in snapshot.decisions if d.created_at >= snapshot.since(_QUARTER)]
    if not held:
        return Found(status="unknown", reason="Nothing was decided in the window.", window_days=_QUARTER)
    wrong = [
        d
        for d in held
        if d.action == "retrain" and (d.cause in DATA_FAULTS or not d.curable or d.evidence.open_data_fault or d.diagnosis is None)
    ]
    if wrong:
        return failed(f"Decision {wrong[0].number} retrained although the cause was {wrong[0].cause}.", _rows(wrong), window_days=_QUARTER)
    return passed(f"All {len(held)} decisions name their cause; none retrained on a data fault.", _rows(held), window_days=_QUARTER)


@CAPABILITIES.member("C05")
def gain_covered_cost(snapshot: Snapshot) -> Found:
    """Every decision to retrain has an expected gain with its interval, a cost and a margin."""
    held = _retrainings(snapshot, _QUARTER)
    if not held:
        return _none(_QUARTER)
    bare = [d for d in held if d.expected_gain is None or d.cost is None]
    if bare:
        return failed(f"Decision {bare[0].number} has no expected gain or no cost.", _rows(held), window_days=_QUARTER)
    return passed(f"All {len(held)} decisions weighed gain against cost.", _rows(held), window_days=_QUARTER)


@CAPABILITIES.member("C06")
def released_safely(snapshot: Snapshot) -> Found:
    """Versions of decided retrainings met their gates and, when released, a canary; cooldown and budget are set."""
    held = _retrainings(snapshot, _QUARTER)
    if not held:
        return _none(_QUARTER)
    ids = {d.id for d in held}
    runs = {r.id for r in snapshot.pipeline_runs if r.cause.subject in ids}
    brought = [v for v in snapshot.versions if v.pipeline_run_id in runs and v.pipeline_run_id]
    if not brought:
        return failed("No decided retraining has brought a version yet.", _rows(held), window_days=_QUARTER)
    if any(d.settings.cooldown_days <= 0 or d.settings.budget_per_month <= 0 for d in held):
        return failed("A decision was made without cooldown or budget.", _rows(held), window_days=_QUARTER)
    for version in brought:
        if not snapshot.verdicts(version):
            return failed(f"{version.model}:{version.number} met no gate.", _rows(held), window_days=_QUARTER)
    canaries = {
        (x.model, x.number) for d in snapshot.production for r in snapshot.revisions(d.name) if r.change == "canary" for x in r.routes
    }
    bold = [v for v in brought if any(x.passed for x in snapshot.verdicts(v)) and (v.model, v.number) not in canaries]
    if bold:
        return failed(f"{bold[0].model}:{bold[0].number} passed its gates but saw no canary.", _rows(held), window_days=_QUARTER)
    rows = [row("model_version", f"{v.model}:{v.number}") for v in brought]
    return passed(f"All {len(brought)} versions met gate and canary.", rows, window_days=_QUARTER)


@CAPABILITIES.member("C07")
def gains_reviewed(snapshot: Snapshot) -> Found:
    """For at least 80 % of the decisions to retrain the realised gain is known."""
    held = _retrainings(snapshot, _HALF_YEAR)
    if not held:
        return _none(_HALF_YEAR)
    known = {gain.decision: gain for gain in reversed(snapshot.realised)}
    reviewed = [known[d.id] for d in held if d.id in known]
    won = sum(gain.improved for gain in reviewed)
    told = f"{len(reviewed)} of {len(held)} retrainings were reviewed; {won} improved value."
    rows = [row("realised_gain", gain.id, f"{gain.gain.estimate:.2f}") for gain in reviewed]
    return (passed if len(reviewed) >= 0.8 * len(held) else failed)(told, rows, window_days=_HALF_YEAR)
