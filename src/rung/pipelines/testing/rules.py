"""Decisions about test reports: how one ended as a whole, and whether it is about the code of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from rung.pipelines.records import PipelineRun, StepRun
from rung.pipelines.testing.records import CheckKind, CheckOutcome, ReportOutcome, TestCheck, TestReport


def counted(checks: Iterable[TestCheck]) -> dict[CheckOutcome, int]:
    """How many checks ended in which way."""
    return dict(sorted(Counter(check.outcome for check in checks).items()))


def outcome_of(checks: Iterable[TestCheck]) -> ReportOutcome:
    """Passed if at least one check passed and none failed; skipped ones prove nothing."""
    outcomes = {check.outcome for check in checks}
    return "passed" if "passed" in outcomes and not outcomes & {"failed", "error"} else "failed"


def tested(check: TestCheck, fingerprint: str) -> TestCheck:
    """A check with the fingerprint of the step it tested."""
    found: TestCheck = msgspec.structs.replace(check, fingerprint=fingerprint)  # type: ignore[type-var]  # a Struct, see core.records
    return found


def is_about(report: TestReport, run: PipelineRun, steps: Iterable[StepRun]) -> bool:
    """Whether a report tested the code that a run executed: the same snapshot, clean commit, or fingerprints of all its steps."""
    if report.code and report.code == run.code:
        return True
    if report.git_commit and report.git_commit == run.git_commit and not report.git_dirty and not run.git_dirty:
        return True
    executed: Mapping[str, str] = {step.step: step.fingerprint for step in steps if step.fingerprint}
    return bool(executed) and all(report.fingerprints.get(step) == digest for step, digest in executed.items())


def proves(report: TestReport, kinds: Iterable[CheckKind]) -> str:
    """Empty if for each of these kinds a check passed and none failed; else what is missing, in words."""
    for kind in kinds:
        outcomes = {check.outcome for check in report.checks if check.kind == kind}
        if outcomes & {"failed", "error"}:
            return f"a check of {kind} failed"
        if "passed" not in outcomes:
            return f"no check of {kind} passed"
    return ""
