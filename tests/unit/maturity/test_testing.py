"""Reports of pipeline tests prove what is in production, if they are about its code and come from CI."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from rung.maturity.capabilities.testing import features_tested, model_code_tested, pipeline_tested
from rung.pipelines.records import Cause, PipelineRun, PipelineRunDetail, StepRun
from rung.pipelines.testing.records import TestCheck, TestReport
from rung.pipelines.testing.rules import counted, is_about, outcome_of, proves

NOW, RUN = datetime(2026, 1, 1, tzinfo=UTC), "1" * 32
ALL = ("feature_logic", "model_methods", "converges", "overfits_small_batch", "no_nan", "integration", "yields_artifacts")


def _checks(*kinds: str, outcome: str = "passed") -> tuple[TestCheck, ...]:
    return tuple(TestCheck(name=kind, kind=kind, outcome=outcome, duration_s=0.1) for kind in kinds)  # type: ignore[arg-type]


def _report(checks: tuple[TestCheck, ...], **fields: Any) -> TestReport:
    plain = {"code": "blake3:a", "fingerprints": {}, "git_commit": "", "git_dirty": False, "source": "ci", **fields}
    return TestReport(
        id="0" * 32, number=7, outcome=outcome_of(checks), checks=checks, counts=counted(checks), wall_s=1.0, created_at=NOW, created_by="ci", **plain
    )  # fmt: skip


def _run(**fields: Any) -> PipelineRun:
    return PipelineRun(
        id=RUN, number=1, pipeline="train", status="succeeded", params={}, cause=Cause(), seed=0, use_cache=True, created_at=NOW,
        created_by="owner", **{"code": "blake3:a", **fields},
    )  # fmt: skip


STEP = StepRun(id="2" * 32, pipeline_run=RUN, key="fit", step="fit", position=0, status="succeeded", fingerprint="blake3:f")


class _Production:
    """A snapshot of one version in production, made by one run."""

    def __init__(self, *reports: TestReport, run: PipelineRun | None = None) -> None:
        self.test_reports = reports
        self._run = run or _run()
        self.served = (type("Version", (), {"model": "late", "number": 3, "pipeline_run_id": RUN}),)

    def pipeline_run(self, run: str | None) -> PipelineRun | None:
        return self._run

    def detail(self, run: str) -> PipelineRunDetail:
        return PipelineRunDetail(run=self._run, steps=(STEP,), attempts=())


def test_a_report_from_ci_on_the_code_in_production_proves_it() -> None:
    snapshot: Any = _Production(_report(_checks(*ALL)))
    assert [query(snapshot).status for query in (model_code_tested, pipeline_tested)] == ["pass", "pass"]
    assert model_code_tested(snapshot).rows[0].id == "7"
    assert (features_tested(snapshot).status, "coverage" in features_tested(snapshot).reason) == ("manual", True)


def test_a_report_from_somebodys_machine_counts_half() -> None:
    snapshot: Any = _Production(_report(_checks(*ALL), source="local"))
    assert model_code_tested(snapshot).status == "manual"


def test_a_report_on_other_code_proves_nothing() -> None:
    snapshot: Any = _Production(_report(_checks(*ALL), code="blake3:b"))
    found = model_code_tested(snapshot)
    assert (found.status, "No test report is about the code of train:1" in found.reason) == ("fail", True)


@pytest.mark.parametrize("kind", ["model_methods", "converges", "overfits_small_batch", "no_nan"])
def test_every_kind_of_check_is_needed(kind: str) -> None:
    missing: Any = _Production(_report(_checks(*[other for other in ALL if other != kind])))
    broken: Any = _Production(_report((*_checks(*ALL), *_checks(kind, outcome="failed"))))
    assert model_code_tested(missing).reason.endswith(f"no check of {kind} passed.")
    assert model_code_tested(broken).reason.endswith(f"a check of {kind} failed.")


def test_a_report_is_about_the_code_of_a_run_by_snapshot_commit_or_fingerprints() -> None:
    checks = _checks(*ALL)
    assert is_about(_report(checks), _run(), ())
    assert is_about(_report(checks, code="b", git_commit="c"), _run(git_commit="c"), ())
    assert not is_about(_report(checks, code="b", git_commit="c", git_dirty=True), _run(git_commit="c"), ())
    assert not is_about(_report(checks, code="b", git_commit="c"), _run(git_commit="c", git_dirty=True), ())
    assert is_about(_report(checks, code="b", fingerprints={"fit": "blake3:f", "more": "x"}), _run(), (STEP,))
    assert not is_about(_report(checks, code="b", fingerprints={"fit": "blake3:g"}), _run(), (STEP,))
    assert not is_about(_report(checks, code="", fingerprints={}), _run(code=""), ())


def test_skipped_checks_prove_nothing() -> None:
    assert outcome_of(_checks("converges", outcome="skipped")) == "failed"
    assert outcome_of((*_checks("converges"), *_checks("no_nan", outcome="skipped"))) == "passed"
    assert outcome_of((*_checks("converges"), *_checks("no_nan", outcome="error"))) == "failed"
    assert proves(_report(_checks("converges", outcome="skipped")), ("converges",)) == "no check of converges passed"
