"""Records and requests of test reports."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from rung.core.records import Count, Id, Instant, Key, Line, Name, Number, Page, Record, Text
from rung.core.requests import Effect, Request
from rung.pipelines.records import Seconds

CheckKind = Literal[
    "feature_logic", "model_methods", "converges", "overfits_small_batch", "no_nan", "deterministic", "yields_artifacts", "integration",
    "other",
]  # fmt: skip
CheckOutcome = Literal["passed", "failed", "error", "skipped"]
ReportOutcome = Literal["passed", "failed"]


class TestCheck(Record):
    """One test and how it ended: what it proves, of which pipeline or step, with that step's fingerprint."""

    __test__: ClassVar[bool] = False  # pytest takes every Test… for a class of tests

    name: Annotated[str, Meta(max_length=500)]
    kind: CheckKind
    outcome: CheckOutcome
    duration_s: Seconds
    pipeline: Line = ""
    step: Line = ""
    message: Annotated[str, Meta(max_length=4000)] = ""
    fingerprint: str = ""


class TestReport(Record):
    """One run of a project's pipeline tests: every check, and the code they were run on.

    ``code`` is the digest of the project's snapshot and ``fingerprints`` those of its steps, by name; ``source`` says
    where the tests ran. ``number`` counts up in a project.
    """

    __test__: ClassVar[bool] = False

    id: Id
    number: Number
    outcome: ReportOutcome
    checks: tuple[TestCheck, ...]
    counts: dict[CheckOutcome, Count]
    wall_s: Seconds
    code: str
    fingerprints: dict[str, str]
    git_commit: str
    git_dirty: bool
    source: Line
    created_at: Instant
    created_by: Line


class RecordTestReport(Request[TestReport]):
    """Keep how a project's pipeline tests ended; evidence for maturity."""

    operation = "pipelines.record_tests"
    permission = "pipeline:write"
    checks: Annotated[tuple[TestCheck, ...], Meta(max_length=10_000)]
    wall_s: Seconds
    code: Annotated[str, Meta(max_length=80)] = ""
    fingerprints: dict[Key, str] = {}
    git_commit: Annotated[str, Meta(max_length=64)] = ""
    git_dirty: bool = False
    source: Annotated[str, Meta(max_length=250)] = ""


class ListTestReports(Request[Page[TestReport]]):
    """Reports of pipeline tests, newest first."""

    operation = "pipelines.list_test_reports"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    pipeline: Name | None = None
    after: Number | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 20


class GetTestReport(Request[TestReport]):
    """One report by its number; the newest without one."""

    operation = "pipelines.get_test_report"
    permission = "pipeline:read"
    effect: ClassVar[Effect] = "read"
    number: Number | None = None


class ScaffoldedFile(Record):
    """A file that a scaffold writes: its path in the project's folder and its text."""

    path: Line
    text: Text
