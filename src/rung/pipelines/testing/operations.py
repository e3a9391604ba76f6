"""Handlers of test reports."""

from __future__ import annotations

from rung.core.ids import new_id
from rung.core.records import Page
from rung.core.requests import handles
from rung.governance.lineage import link, node
from rung.pipelines.testing import records as t
from rung.pipelines.testing.rules import counted, outcome_of
from rung.pipelines.testing_store import TestReportStore
from rung.storage.raw import Raw
from rung.storage.scope import Scope


@handles(t.RecordTestReport)
def record_tests(request: t.RecordTestReport, scope: Scope) -> t.TestReport:
    """The report, numbered."""
    store = _store(scope)
    Raw(scope.connection).take_turn("test_report number", scope.project)
    report = t.TestReport(
        id=new_id(), number=store.next_number(), outcome=outcome_of(request.checks), checks=request.checks, counts=counted(request.checks),
        wall_s=request.wall_s, code=request.code, fingerprints=request.fingerprints, git_commit=request.git_commit,
        git_dirty=request.git_dirty, source=request.source, created_at=scope.now, created_by=scope.who,
    )  # fmt: skip
    store.add(report)
    for kind, digest in (("code", request.code), ("git_commit", request.git_commit)):
        if digest:
            link(scope, node(kind, digest), "input_of", node("test_report", report.id))
    return report


@handles(t.ListTestReports)
def list_test_reports(request: t.ListTestReports, scope: Scope) -> Page[t.TestReport]:
    """One page of reports, newest first; with a pipeline only those that have a check of it."""
    found = _store(scope).reports(after=request.after, limit=request.limit)
    place = str(found[-1].number) if len(found) == request.limit else None
    of_pipeline = [r for r in found if request.pipeline is None or any(check.pipeline == request.pipeline for check in r.checks)]
    return Page(items=tuple(of_pipeline), next=place)


@handles(t.GetTestReport)
def get_test_report(request: t.GetTestReport, scope: Scope) -> t.TestReport:
    """A report. Raises NotFound."""
    return _store(scope).report(request.number)


def _store(scope: Scope) -> TestReportStore:
    return TestReportStore(scope.connection, scope.project)
