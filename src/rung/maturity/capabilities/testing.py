"""Tests: of features, of the model's specification, and of whole pipelines, on the code that made what is in production."""

from __future__ import annotations

from rung.maturity.capability import CAPABILITIES, NO_PRODUCTION, Found, failed, passed, row
from rung.maturity.records import EvidenceRow
from rung.maturity.snapshot import Snapshot
from rung.pipelines.testing.records import CheckKind
from rung.pipelines.testing.rules import is_about, proves


@CAPABILITIES.member("F04")
def features_tested(snapshot: Snapshot) -> Found:
    """The newest report on the code behind each version in production has passing checks of feature logic; half without coverage."""
    found = _tested(snapshot, ("feature_logic",))
    if found.status != "pass":
        return found
    return Found(status="manual", reason=f"{found.reason} Line coverage is not on record.", rows=found.rows, found=found.found)


@CAPABILITIES.member("T04")
def model_code_tested(snapshot: Snapshot) -> Found:
    """The same for the model's code: it converges on tiny data, overfits a small batch, stays finite, answers each row."""
    return _tested(snapshot, ("model_methods", "converges", "overfits_small_batch", "no_nan"))


@CAPABILITIES.member("T05")
def pipeline_tested(snapshot: Snapshot) -> Found:
    """The same for whole pipelines: they run from end to end on small data, and every step yields its artifacts."""
    return _tested(snapshot, ("integration", "yields_artifacts"))


def _tested(snapshot: Snapshot, kinds: tuple[CheckKind, ...]) -> Found:
    if not snapshot.served:
        return NO_PRODUCTION
    rows: list[EvidenceRow] = []
    by_hand = 0
    for version in snapshot.served:
        name = f"{version.model}:{version.number}"
        run = snapshot.pipeline_run(version.pipeline_run_id)
        if run is None:
            return failed(f"{name} was made by no pipeline run whose code could have been tested.", rows)
        steps = snapshot.detail(run.id).steps
        report = next((item for item in snapshot.test_reports if is_about(item, run, steps)), None)
        if report is None:
            return failed(f"No test report is about the code of {run.pipeline}:{run.number}, which made {name}.", rows)
        rows.append(row("test_report", report.number, f"{report.outcome}, {name}"))
        lacking = proves(report, kinds)
        if lacking:
            return failed(f"Test report {report.number}, on the code that made {name}: {lacking}.", rows)
        by_hand += report.source == "local"
    if by_hand:
        reason = f"{by_hand} of {len(rows)} reports come from somebody's machine, not from CI."
        return Found(status="manual", reason=reason, rows=tuple(rows[:5]), found=len(rows))
    return passed(f"The code of every version in production was tested: {', '.join(kinds)}.", rows)
