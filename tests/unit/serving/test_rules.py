"""Traffic, canaries and rollbacks, decided on values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rung.core.errors import Conflict
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.serving.records import CanaryLimits, Revision, Route
from rung.serving.rules import judged, promoted, rollback_target, with_canary, with_share, without_canary

STABLE = (Route(model="m", number=1, share=1.0, arm="stable"),)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def revision(number: int, version: int | None) -> Revision:
    routes = () if version is None else (Route(model="m", number=version, share=1.0, arm="stable"),)
    return Revision(
        id=new_id(), deployment="d", number=number, routes=routes, change="deploy", created_at=NOW, created_by="ann", actor_kind="user"
    )


def test_a_canary_takes_its_share_from_the_stable_version() -> None:
    stable, canary = with_canary(STABLE, "m", 2, 0.1)
    assert (stable.share, canary.share, canary.arm) == (0.9, 0.1, "canary")


def test_a_share_of_nothing_is_a_shadow() -> None:
    stable, shadow = with_canary(STABLE, "m", 2, 0.0)
    assert (stable.share, shadow.arm) == (1.0, "shadow")


def test_a_canary_grows_is_promoted_or_goes() -> None:
    routes = with_canary(STABLE, "m", 2, 0.1)
    assert with_share(routes, 0.5)[1].share == 0.5
    assert promoted(routes) == (Route(model="m", number=2, share=1.0, arm="stable"),)
    assert without_canary(routes) == STABLE


def test_the_stable_version_cannot_be_its_own_canary() -> None:
    with pytest.raises(Conflict, match="m:1"):
        with_canary(STABLE, "m", 1, 0.1)


@pytest.mark.parametrize("change", [promoted, without_canary])
def test_without_a_canary_there_is_nothing_to_end(change: object) -> None:
    with pytest.raises(Conflict, match="canary"):
        change(STABLE)  # type: ignore[operator]


def test_rollback_returns_to_the_newest_other_version() -> None:
    revisions = [revision(4, 3), revision(3, 3), revision(2, 2), revision(1, 1)]
    assert rollback_target(revisions, None).number == 2
    assert rollback_target(revisions, 1).number == 1
    with pytest.raises(Conflict):
        rollback_target(revisions, 9)
    with pytest.raises(Conflict):
        rollback_target([revision(1, 1)], None)


def test_while_a_canary_answers_rollback_takes_it_out() -> None:
    before, after = revision(2, 2), revision(1, 1)
    trial = replaced(revision(3, 2), routes=with_canary(revision(3, 2).routes, "m", 3, 0.3))
    shadowed = replaced(revision(3, 2), routes=with_canary(revision(3, 2).routes, "m", 3, 0.0))
    assert rollback_target([trial, before, after], None).number == 2
    assert rollback_target([trial, after], None).number == 1
    assert rollback_target([shadowed, before, after], None).number == 1  # a shadow answers nobody


def test_a_canary_is_judged_by_rows_errors_scores_and_time() -> None:
    limits = CanaryLimits()
    good = {"canary_rows": 500, "stable_rows": 5000, "canary_errors": 0, "score_distance": 0.05, "slowdown": 1.1}
    assert judged(limits, **good)[0] == "passed"
    assert judged(limits, **{**good, "canary_rows": 10})[0] == "insufficient"
    for worse in ({"canary_errors": 50}, {"score_distance": 0.9}, {"slowdown": 19.0}):
        outcome, reasons = judged(limits, **{**good, **worse})
        assert outcome == "failed"
        assert len(reasons) == 1


def test_a_figure_that_cannot_be_known_does_not_fail_a_canary() -> None:
    nan = float("nan")
    assert judged(CanaryLimits(), canary_rows=500, stable_rows=0, canary_errors=0, score_distance=nan, slowdown=nan)[0] == "passed"
