"""Records and requests of maturity."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from rung.core.records import Count, Id, Instant, Key, Line, Name, Record, Share, Text
from rung.core.requests import Effect, Request

Status = Literal["pass", "manual", "fail", "unknown", "n.a.", "attested"]
Scale = Literal["google", "microsoft", "five"]
CriterionId = Annotated[str, Meta(pattern=r"^[A-Z][0-9]{2}$")]


class Criterion(Record):
    """One capability a team may have; ``evidence`` says in words what is looked for."""

    id: CriterionId
    dimension: Name
    text: Line
    kind: Literal["auto", "mixed", "attest"]
    evidence: Line
    google: int | None = None
    microsoft: int | None = None
    five: int | None = None
    maps: tuple[str, ...] = ()


class EvidenceRow(Record):
    """One thing in our store that a verdict rests on."""

    kind: Line
    id: Line
    label: Line = ""


class CriterionResult(Record):
    """A criterion with what the records say: the query in words, its window, how many rows it found and which."""

    id: CriterionId
    dimension: Name
    text: Line
    kind: Literal["auto", "mixed", "attest"]
    status: Status
    reason: Line
    query: Line
    window_days: Count | None = None
    found: Count = 0
    rows: tuple[EvidenceRow, ...] = ()
    always: bool = False
    gates: tuple[str, ...] = ()
    command: Line = ""
    planned: bool = False


class ScaleResult(Record):
    """Level reached on one scale; ``reached`` adds the share of the next level's gates that hold."""

    scale: Scale
    title: Line
    level: Count
    base: Count
    top: Count
    name: Line
    reached: float
    next_total: Count
    next_held: Count
    missing: tuple[str, ...]
    sentence: Line


class TestScore(Record):
    """ML Test Score: the sum of each section and, as the final score, the least of the four."""

    sections: dict[str, float]
    final: float
    band: Line


class Dimension(Record):
    """Depth of one dimension: weighted share of its criteria that hold. It decides no level."""

    name: Name
    depth: Share
    passed: Count
    total: Count


class NextStep(Record):
    """What to do next, what it gains, by which command, and which record will prove it."""

    criteria: tuple[str, ...]
    text: Line
    gain: Line
    command: Line
    planned: bool
    evidence: Line


class Target(Record):
    """The level somebody chose as enough, why, and when to look at it again."""

    scale: Scale
    level: Count
    reason: Text
    set_by: Line
    set_at: Instant
    review_at: Instant


class Attestation(Record):
    """A person's statement where no record can prove a capability; it counts until it expires."""

    id: Id
    criterion: CriterionId
    text: Text
    link: Line
    status: Literal["attested", "n.a."]
    signed_by: Line
    signed_at: Instant
    expires_at: Instant
    withdrawn_at: Instant | None = None


class Assessment(Record):
    """Levels, criteria and next steps of a project at one instant, from its records' creation times."""

    at: Instant
    scales: tuple[ScaleResult, ...]
    always: tuple[CriterionResult, ...]
    test_score: TestScore
    dimensions: tuple[Dimension, ...]
    criteria: tuple[CriterionResult, ...]
    steps: tuple[NextStep, ...]
    counts: dict[str, int]
    targets: tuple[Target, ...]
    notes: tuple[str, ...]


class HistoryPoint(Record):
    """Levels at one kept assessment."""

    id: Id
    at: Instant
    levels: dict[str, float]
    test_score: float
    passed: Count
    by: Line


class GetAssessment(Request[Assessment]):
    """Assess now, from a snapshot, keeping nothing."""

    operation = "maturity.get_assessment"
    permission = "maturity:read"
    effect: ClassVar[Effect] = "read"


class Assess(Request[Assessment]):
    """Assess now and keep the levels as a point of the history."""

    operation = "maturity.assess"
    permission = "maturity:write"
    effect: ClassVar[Effect] = "work"


class GetHistory(Request[tuple[HistoryPoint, ...]]):
    """Kept levels, oldest first."""

    operation = "maturity.history"
    permission = "maturity:read"
    effect: ClassVar[Effect] = "read"


class ListCriteria(Request[tuple[Criterion, ...]]):
    """Every criterion, as the package defines it."""

    operation = "maturity.list_criteria"
    permission = "maturity:read"
    effect: ClassVar[Effect] = "read"


class Attest(Request[Attestation]):
    """Sign that a capability holds, or with status ``n.a.`` that it does not apply here. Raises Invalid for machine-proved ones."""

    operation = "maturity.attest"
    permission = "maturity:manage"
    criterion: CriterionId
    text: Annotated[str, Meta(min_length=10, max_length=10_000)]
    link: Line = ""
    status: Literal["attested", "n.a."] = "attested"
    days: Annotated[int, Meta(ge=1, le=365)] | None = None


class WithdrawAttestation(Request[Attestation]):
    """Take a signature back."""

    operation = "maturity.withdraw_attestation"
    permission = "maturity:manage"
    id: Key


class ListAttestations(Request[tuple[Attestation, ...]]):
    """Signatures of this project, newest first, expired and withdrawn ones included."""

    operation = "maturity.list_attestations"
    permission = "maturity:read"
    effect: ClassVar[Effect] = "read"


class SetTarget(Request[Target]):
    """Say which level of a scale is enough for this project, and why."""

    operation = "maturity.set_target"
    permission = "maturity:manage"
    scale: Scale
    level: Annotated[int, Meta(ge=0, le=5)]
    reason: Annotated[str, Meta(min_length=1, max_length=10_000)]
    review_days: Annotated[int, Meta(ge=1, le=3650)] = 180
