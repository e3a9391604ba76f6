"""Monitoring: predictions logged, outcomes joined, monitors that ran, causes found before retraining."""

from __future__ import annotations

from rung.maturity.capability import CAPABILITIES, NO_PRODUCTION, Found, each, failed, passed, row
from rung.maturity.snapshot import Snapshot

_DATA_WINDOW = 7
_QUARTER = 90


@CAPABILITIES.member("O01")
def predictions_logged(snapshot: Snapshot) -> Found:
    """Every production deployment has logged answers in the window; every answer of the data plane is logged."""
    first = snapshot.since(_DATA_WINDOW).strftime("%Y-%m-%d")
    rows = {item.name: sum(n.rows for n in snapshot.counts(item.name) if n.day >= first) for item in snapshot.production}
    told = [row("deployment", name, f"{count} answers logged") for name, count in rows.items()]
    return each(rows, [name for name, count in rows.items() if not count], "logged answers", told, window_days=_DATA_WINDOW)


@CAPABILITIES.member("O02")
def outcomes_joined(snapshot: Snapshot) -> Found:
    """Every production deployment has a window whose labels were joined, and deliveries that tell the label delay."""
    missing, rows = [], []
    for item in snapshot.production:
        report = snapshot.monitored(item.name)
        joined = [w for w in report.windows if w.labelled_share > 0 and w.performance is not None] if report else []
        if not joined or not snapshot.label_batches(item.name):
            missing.append(item.name)
        rows += [row("window", w.id, f"{w.labelled_share:.0%} labelled, {w.start:%Y-%m-%d}") for w in joined]
    return each([item.name for item in snapshot.production], missing, "a window with joined labels", rows)


@CAPABILITIES.member("O03")
def performance_monitored(snapshot: Snapshot) -> Found:
    """Every production deployment has a monitor with a declared label delay that measured performance."""
    missing, rows = [], []
    for item in snapshot.production:
        report, monitor = snapshot.monitored(item.name), snapshot.monitors.get(item.name)
        measured = [w for w in report.windows if w.performance is not None and w.performance.value is not None] if report else []
        if monitor is None or not measured:
            missing.append(item.name)
        elif monitor is not None:
            rows.append(row("monitor", monitor.id, f"{item.name}: {len(measured)} windows measured"))
    return each([item.name for item in snapshot.production], missing, "a monitor that measured performance", rows)


@CAPABILITIES.member("O04")
def quality_monitored(snapshot: Snapshot) -> Found:
    """Every production deployment has windows, each of which was held against the training profile."""
    missing, rows = [], []
    for item in snapshot.production:
        report = snapshot.monitored(item.name)
        held = [w for w in report.windows if w.reference] if report else []
        missing += [] if held else [item.name]
        rows += [row("window", w.id, f"{len(w.quality)} faults, {w.start:%Y-%m-%d}") for w in held[-1:]]
    return each([item.name for item in snapshot.production], missing, "quality checks against the training rows", rows)


@CAPABILITIES.member("O05")
def drift_monitored(snapshot: Snapshot) -> Found:
    """Every production deployment has windows with drift tests, p-values adjusted, against the deployed model's rows."""
    missing, rows = [], []
    for item in snapshot.production:
        report = snapshot.monitored(item.name)
        held = [w for w in report.windows if w.drift and w.reference] if report else []
        missing += [] if held else [item.name]
        rows += [row("window", w.id, f"{len(w.drift)} columns against {w.reference}") for w in held[-1:]]
    return each([item.name for item in snapshot.production], missing, "drift tests", rows)


@CAPABILITIES.member("O14")
def cause_before_retraining(snapshot: Snapshot) -> Found:
    """Every incident of the window has a cause, and every decision to retrain rests on a diagnosis."""
    recent = [item for item in snapshot.incidents if item.opened_at >= snapshot.since(_QUARTER)]
    if not recent:
        return Found(status="unknown", reason="There was no incident, so nothing shows that causes are sought first.", window_days=_QUARTER)
    bare = [item for item in recent if item.cause is None]
    blind = [d for d in snapshot.decisions if d.action == "retrain" and d.diagnosis is None and d.created_at >= snapshot.since(_QUARTER)]
    rows = [row("incident", item.number, f"{item.title}: {item.cause}") for item in recent]
    if bare:
        return failed(f"Incident {bare[0].number} has no cause.", rows, window_days=_QUARTER)
    if blind:
        return failed(f"Decision {blind[0].number} retrained without a diagnosis.", rows, window_days=_QUARTER)
    return passed(f"All {len(recent)} incidents have a cause, found before any retraining.", rows, window_days=_QUARTER)


@CAPABILITIES.member("G01")
def traceable(snapshot: Snapshot) -> Found:
    """Every version in production leads to its run, its clean commit, its lock and its dataset versions, and its answers name it."""
    if not snapshot.served:
        return NO_PRODUCTION
    for version in snapshot.served:
        lacks = [
            noun
            for noun, held in (
                ("run", version.run_id or version.pipeline_run_id),
                ("commit", version.git_commit),
                ("lock", version.lock),
                (
                    "dataset version",
                    version.datasets and all(snapshot.dataset_version(use.dataset, use.number) for use in version.datasets),
                ),
            )
            if not held
        ]
        if lacks:
            return failed(f"{version.model}:{version.number} leads to no {lacks[0]}.")
    rows = [row("model_version", f"{item.model}:{item.number}", f"commit {item.git_commit[:12]}") for item in snapshot.served]
    logged = all(snapshot.counts(item.name) for item in snapshot.production)
    return passed("Every version leads to run, commit, lock and data.", rows) if logged else failed("No predictions are logged.", rows)
