"""Levels are computed from gates alone, never above what they prove."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from rung.client.client import Client
from rung.maturity import rules
from rung.maturity.assessing import assessment
from rung.maturity.capability import CAPABILITIES
from rung.maturity.catalogue import catalogue
from rung.maturity.records import Assessment, CriterionResult, Status

BOOK = catalogue()
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _assessed(statuses: dict[str, Status]) -> Assessment:
    results = tuple(
        CriterionResult(
            id=row.id, dimension=row.dimension, text=row.text, kind=row.kind, status=statuses.get(row.id, "unknown"), reason="", query="",
            command=BOOK.commands.get(row.id, BOOK.planned[row.id]), planned=row.id not in BOOK.commands, always=row.id in BOOK.always,
        )
        for row in BOOK.criteria
    )  # fmt: skip
    return assessment(BOOK, results, (), NOW)


def _levels(statuses: dict[str, Status]) -> dict[str, int]:
    return {scale.scale: scale.level for scale in _assessed(statuses).scales}


def test_every_gate_and_deciding_row_is_a_criterion() -> None:
    known = {row.id for row in BOOK.criteria}
    gates = {gate for scale in BOOK.scales.values() for ids in scale.gates.values() for gate in ids}
    assert len(known) == 128
    assert gates | set(BOOK.always) | set(BOOK.test_score.values()) | set(BOOK.commands) <= known


def test_every_query_answers_a_criterion() -> None:
    assert set(CAPABILITIES.names()) <= {row.id for row in BOOK.criteria}


def test_all_rows_passing_is_the_top_of_every_scale() -> None:
    told = _assessed({row.id: "pass" for row in BOOK.criteria})
    assert {scale.scale: scale.level for scale in told.scales} == {"google": 2, "microsoft": 4, "five": 5}
    assert told.test_score.final == 7
    assert told.steps == ()


def test_the_fixture_of_a_team_with_devops_only() -> None:
    # Microsoft 1 gates plus O01, X01, X02, X03; the expected figures are those of the reference page, section 2
    held = [*BOOK.scales["microsoft"].gates["1"], "O01", "X01", "X02", "X03"]
    told = _assessed(dict.fromkeys(held, "pass"))
    google, microsoft, five = told.scales
    assert (google.level, google.next_held, google.next_total) == (0, 1, 13)
    assert (microsoft.level, round(100 * microsoft.next_held / microsoft.next_total)) == (1, 21)
    assert (five.level, five.next_held / five.next_total, five.missing) == (1, 0.75, ("D03", "O02"))
    assert told.test_score.final == 0
    assert [step.criteria[0] for step in told.steps] == ["O02", "O03", "V02"]


def test_lowering_a_row_never_raises_a_level() -> None:
    draw = random.Random(0)
    order: list[Status] = ["unknown", "fail", "manual", "pass"]
    for _ in range(200):
        statuses: dict[str, Status] = {row.id: draw.choice(["pass", "pass", "pass", "manual", "fail"]) for row in BOOK.criteria}
        before = _levels(statuses)
        lowered = draw.choice(list(statuses))
        statuses[lowered] = order[max(order.index(statuses[lowered]) - 1, 0)]
        after = _levels(statuses)
        assert all(after[scale] <= before[scale] for scale in before)


def test_a_half_does_not_hold_a_gate() -> None:
    statuses: dict[str, Status] = {row.id: "pass" for row in BOOK.criteria}
    statuses["P01"] = "manual"
    assert _levels(statuses)["google"] == 0


def test_a_signature_holds_no_gate_outside_the_people() -> None:
    statuses: dict[str, Status] = {row.id: "pass" for row in BOOK.criteria}
    statuses["X05"] = "attested"
    assert _levels(statuses)["microsoft"] == 1


def test_microsoft_two_cannot_rest_on_a_signature_and_four_on_two_at_most() -> None:
    statuses: dict[str, Status] = {row.id: "pass" for row in BOOK.criteria}
    statuses["H01"] = "attested"  # the only people gate up to level 2
    assert _levels(statuses)["microsoft"] == 1
    statuses |= {"H01": "pass", "H02": "attested", "H03": "attested"}
    assert _levels(statuses)["microsoft"] == 4
    statuses["H04"] = "attested"
    assert _levels(statuses)["microsoft"] == 3


def test_not_applicable_holds_a_gate_and_scores_nothing() -> None:
    statuses: dict[str, Status] = {row.id: "pass" for row in BOOK.criteria}
    statuses["R09"] = "n.a."
    assert rules.test_score(BOOK, statuses).final == 6


def test_an_empty_project_has_reached_nothing(client: Client) -> None:
    told = client.maturity.assessment()
    assert [(scale.level, scale.next_held) for scale in told.scales] == [(0, 0), (0, 0), (1, 0)]
    assert "pass" not in {row.status for row in told.criteria if row.gates}
    assert told.test_score.final == 0
    assert {row.id for row in told.always} == {"O01", "O02", "O03", "V02", "V03"}
    assert len(told.steps) == 3


def test_kept_assessments_become_history(client: Client) -> None:
    client.maturity.assess()
    assert [point.levels["google"] for point in client.maturity.history()] == [0.0]


def test_a_signature_is_refused_where_records_decide(client: Client) -> None:
    from rung.core.errors import Invalid

    with pytest.raises(Invalid, match="proved by records only"):
        client.maturity.attest("X05", "It is reproducible, believe me.")
    signed = client.maturity.attest("H01", "We sit in one room and review each other's pipelines.")
    status = {row.id: row.status for row in client.maturity.assessment().criteria}
    assert status["H01"] == "attested"
    client.maturity.withdraw_attestation(signed.id)
    assert {row.id: row.status for row in client.maturity.assessment().criteria}["H01"] == "unknown"


def test_a_target_reached_ends_the_advice_for_its_scale(client: Client) -> None:
    for scale, level in (("google", 0), ("microsoft", 0), ("five", 1)):
        client.maturity.set_target(scale, level, reason="One model, released by hand once a month, is enough.")  # type: ignore[arg-type]
    told = client.maturity.assessment()
    assert {row for step in told.steps for row in step.criteria} <= set(BOOK.always)
    assert {row.id: row.status for row in told.criteria}["V06"] == "pass"
