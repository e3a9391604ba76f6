"""A version is let into all of the traffic by what is said of it then, not by what was said when it came in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.errors import Conflict
from rung.core.ids import new_id
from rung.registry.records import Verdict
from rung.registry.store import RegistryStore
from rung.serving.ab_records import ArmWish
from rung.serving.options import RolloutPlan
from rung.serving.records import CanaryLimits, JudgeCanary
from rung.storage.outbox import as_event, recent
from tests.integration.releasing import NAME, Release, released

PLAN = RolloutPlan(steps=(0.2, 0.6, 1.0), step_rows=60, gates={"errors": {"max_share": 0.05}, "shift": {}})
WHY = "an example"


@pytest.fixture
def release(transport: LocalTransport) -> Iterator[Release]:
    """Version 1 serves in production; every version but the first is asked to be approved by somebody else."""
    held = released(transport)
    held.client.serving.undeploy(NAME)
    transport.platform.database.write(lambda c: c.exec_driver_sql("UPDATE deployment SET environment = 'production'"))
    held.client.serving.deploy(NAME, "late", 1, override_reason=WHY)
    held.client.governance.create_principal("ann", role="maintainer")
    other = Client(LocalTransport(transport.platform, token=held.client.governance.create_token("ann").secret))
    held.client.registry.set_approval_rule("late", 1)
    held.ann = other  # type: ignore[attr-defined]
    yield held
    held.engine.close()


def events(release: Release, kind: str) -> list[Any]:
    platform = release.transport.platform
    held = platform.database.read(lambda c: recent(c, project_of(release), limit=1000))
    return [as_event(entry) for entry in held if entry.kind == kind]


def project_of(release: Release) -> str:
    return str(release.transport.platform.database.read(lambda c: c.exec_driver_sql("SELECT project FROM deployment").scalar()))


def grow(release: Release, looks: int = 8) -> None:
    for _ in range(looks):
        release.ask(150)
        release.look()


def test_a_growing_canary_whose_approval_was_withdrawn_is_held_and_grows_on_once_it_is_back(release: Release) -> None:
    ann, verbs = release.ann, release.client.serving  # type: ignore[attr-defined]
    given = ann.registry.approve("late", 2)
    verbs.start_canary(NAME, 2, share=0.2, plan=PLAN, override_reason=WHY)
    ann.registry.revoke_approval(given.id)
    grow(release, 3)
    rollout = verbs.rollouts(NAME)[0]
    assert (rollout.state, rollout.share) == ("paused", 0.2)
    assert "late:2 is not approved" in rollout.reason
    assert [x.number for x in verbs.get(NAME).routes] == [1, 2]
    with pytest.raises(Conflict, match="not approved"):
        verbs.resume_rollout(NAME)
    with pytest.raises(Conflict, match="not approved"):
        verbs.set_traffic(NAME, 0.9)
    with pytest.raises(Conflict, match="not approved"):
        verbs.promote_canary(NAME, override_reason="I want it")
    assert verbs.set_traffic(NAME, 0.1).change == "traffic"
    ann.registry.approve("late", 2)
    verbs.resume_rollout(NAME)
    grow(release)
    assert [(x.number, x.share) for x in verbs.get(NAME).routes] == [(2, 1.0)]


def test_holding_a_rollout_is_told_once_as_an_event(release: Release) -> None:
    ann = release.ann  # type: ignore[attr-defined]
    ann.registry.approve("late", 2)
    release.client.serving.start_canary(NAME, 2, share=0.2, plan=PLAN, override_reason=WHY)
    ann.registry.reject("late", 2, "it discriminates")
    grow(release, 4)
    (event,) = events(release, "serving.promotion_held")
    assert (event.deployment, event.model, event.number) == (NAME, "late", 2)
    assert "late:2 is rejected" in event.reason
    assert "it discriminates" in event.reason


def test_a_held_canary_is_still_taken_back_by_its_gates(release: Release) -> None:
    ann, verbs = release.ann, release.client.serving  # type: ignore[attr-defined]
    given = ann.registry.approve("late", 3)
    verbs.start_canary(NAME, 3, share=0.3, plan=RolloutPlan(steps=(0.3, 1.0), step_rows=40, gates={"performance": {}}), override_reason=WHY)
    ann.registry.revoke_approval(given.id)
    for _ in range(6):
        release.ask(300, labelled=True)
        release.look()
    assert verbs.rollouts(NAME)[0].state == "rolled_back"


def test_a_version_that_was_archived_meanwhile_is_not_promoted(release: Release) -> None:
    ann, verbs = release.ann, release.client.serving  # type: ignore[attr-defined]
    ann.registry.approve("late", 2)
    verbs.start_canary(NAME, 2, share=0.2, plan=PLAN, override_reason=WHY)
    release.client.registry.set_stage("late", 2, "archived")
    grow(release, 3)
    rollout = verbs.rollouts(NAME)[0]
    assert (rollout.state, "late:2 is archived" in rollout.reason) == ("paused", True)


def test_a_verdict_that_failed_meanwhile_holds_although_the_canary_came_in_by_an_override(release: Release) -> None:
    ann, verbs = release.ann, release.client.serving  # type: ignore[attr-defined]
    ann.registry.approve("late", 2)
    frame = release.ask(50).select("label")
    assert frame.height == 50
    verbs.start_canary(NAME, 2, share=0.2, plan=PLAN, override_reason=WHY)
    failed(release, 2)
    grow(release, 3)
    rollout = verbs.rollouts(NAME)[0]
    assert (rollout.state, "late:2 has no passing verdict" in rollout.reason) == ("paused", True)


def test_a_judgement_that_would_promote_says_why_it_does_not(release: Release) -> None:
    ann, verbs = release.ann, release.client.serving  # type: ignore[attr-defined]
    given = ann.registry.approve("late", 2)
    verbs.start_canary(NAME, 2, share=0.5, override_reason=WHY)
    release.ask(500)
    ann.registry.revoke_approval(given.id)
    verdict = release.transport.call(JudgeCanary(deployment=NAME, limits=CanaryLimits(max_slowdown=1000.0)))
    release.settle()
    assert verdict.outcome == "insufficient"
    assert "late:2 is not approved" in verdict.reasons[0]
    assert [x.number for x in verbs.get(NAME).routes] == [1, 2]


def test_an_arm_that_was_rejected_meanwhile_does_not_stay_but_the_stable_version_may(release: Release) -> None:
    ann, verbs = release.ann, release.client.serving  # type: ignore[attr-defined]
    ann.registry.approve("late", 2)
    verbs.start_ab(NAME, [ArmWish(model="late", number=2, share=0.5)], override_reason=WHY)
    ann.registry.reject("late", 2, "no")
    with pytest.raises(Conflict, match="is rejected"):
        verbs.stop_ab(NAME, keep="arm-1", override_reason=WHY)
    assert [x.number for x in verbs.stop_ab(NAME, keep="stable").routes] == [1]


def test_a_bandit_gives_a_rejected_arm_no_more(release: Release) -> None:
    ann, verbs = release.ann, release.client.serving  # type: ignore[attr-defined]
    ann.registry.approve("late", 3)
    verbs.deploy(NAME, "late", 3, override_reason=WHY)  # the one that errs is stable, so that arm-1 would win
    ann.registry.approve("late", 2)
    wish = [ArmWish(model="late", number=2, share=0.2)]
    verbs.start_ab(NAME, wish, policy="thompson", settings={"min_rows": 30}, planned_rows=500, override_reason=WHY)
    ann.registry.reject("late", 2, "no")
    for _ in range(2):
        release.ask(400, labelled=True)
        release.settle()
    test = verbs.ab(NAME)
    assert test.latest is not None
    assert "late:2 is rejected" in test.reason
    assert 0.1 < (release.ask(400)["version"] == 2).mean() < 0.3


def failed(release: Release, number: int) -> None:
    """Enter a verdict of gates that did not pass."""
    project = project_of(release)
    came = release.client.serving.revisions(NAME)[0].created_at
    verdict = Verdict(
        id=new_id(), model="late", number=number, passed=False, reasons=("It errs too often.",), gates=(), champion=None, dataset="d",
        dataset_number=1, evaluation=new_id(), champion_evaluation=None, created_at=came + timedelta(milliseconds=1), created_by="gates",
    )  # fmt: skip
    release.transport.platform.database.write(lambda c: RegistryStore(c, project).add_verdict(verdict))
