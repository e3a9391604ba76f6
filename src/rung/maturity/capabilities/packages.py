"""Packages: production runs the digest that staging has proven."""

from __future__ import annotations

from rung.maturity.capability import CAPABILITIES, Found, failed, passed, row
from rung.maturity.snapshot import Snapshot

_QUARTER = 90


@CAPABILITIES.member("P03")
def symmetric(snapshot: Snapshot) -> Found:
    """Every pipeline run in production used a package that had succeeded in the environment before."""
    report, first = snapshot.symmetry, snapshot.since(_QUARTER)
    if not report.runs:
        return Found(status="unknown", reason="No pipeline ever ran in production.", window_days=_QUARTER)
    strange = [one for one in report.asymmetries if one.at >= first]
    if strange:
        rows = [row("pipeline_run", f"{one.pipeline}:{one.number}", one.reason) for one in strange[:5]]
        return failed(f"{len(strange)} runs in production used another digest than {report.before}.", rows, window_days=_QUARTER)
    rows = [row("package", release.package, f"{release.pipeline} in {release.environment}") for release in snapshot.releases[:5]]
    return passed(f"All {report.runs} runs in production used packages proven in {report.before}.", rows, window_days=_QUARTER)
