"""Releases with the engine and real labels: canaries grow or go by themselves, bandits move, shadows are compared."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import polars as pl
import pytest

from rung.app.local import LocalTransport, local_transport
from rung.core.errors import Conflict
from rung.core.settings import Settings
from rung.serving.ab_records import ArmWish
from rung.serving.live import live_table, note_change
from rung.serving.options import RolloutPlan
from tests.integration.releasing import NAME, Release, released


@pytest.fixture
def release(transport: LocalTransport) -> Iterator[Release]:
    """A deployment with three versions, and an engine."""
    held = released(transport)
    yield held
    held.engine.close()


@pytest.fixture
def either(any_settings: Settings) -> Iterator[Release]:
    """The same on each database engine in turn."""
    transport = local_transport(any_settings)
    held = released(transport)
    yield held
    held.engine.close()
    transport.close()


PLAN = RolloutPlan(steps=(0.2, 0.6, 1.0), step_rows=100, gates={"errors": {"max_share": 0.05}, "shift": {}, "performance": {}})


def test_a_sound_canary_grows_to_all_of_the_traffic_by_itself(either: Release) -> None:
    either.client.serving.start_canary(NAME, 2, share=0.2, plan=PLAN)
    for _ in range(12):
        either.ask(200)
        either.look()
        if either.client.serving.get(NAME).canary is None:
            break
    held = either.client.serving.get(NAME)
    assert [(x.number, x.share) for x in held.routes] == [(2, 1.0)]
    changes = [x.change for x in reversed(either.client.serving.revisions(NAME))]
    assert changes == ["deploy", "canary", "grow", "promote"]
    rollout = either.client.serving.rollouts(NAME)[0]
    assert rollout.state == "promoted"
    decisive = [x for x in either.client.serving.judgements(NAME) if x.action != "wait"]
    assert [x.action for x in reversed(decisive)] == ["grow", "promote"]
    assert all(x.outcome == "passed" and x.alpha < 0.05 for x in decisive)


def test_a_canary_that_answers_otherwise_is_taken_back_and_the_reason_told(release: Release) -> None:
    release.client.serving.start_canary(NAME, 3, share=0.3, plan=PLAN)
    for _ in range(6):
        release.ask(300, labelled=True)
        release.look()
    held = release.client.serving.get(NAME)
    assert [(x.number, x.share) for x in held.routes] == [(1, 1.0)]
    rollout = release.client.serving.rollouts(NAME)[0]
    assert rollout.state == "rolled_back"
    assert "squared error" in rollout.reason
    assert release.client.serving.revisions(NAME)[0].reason == rollout.reason


def test_a_paused_canary_keeps_its_share_until_it_is_resumed(release: Release) -> None:
    release.client.serving.start_canary(NAME, 2, share=0.2, plan=PLAN)
    release.client.serving.pause_rollout(NAME, reason="a holiday")
    for _ in range(4):
        release.ask(400)
        release.look()
    assert release.client.serving.get(NAME).canary is not None
    assert release.client.serving.get(NAME).canary.share == 0.2  # type: ignore[union-attr]
    release.client.serving.resume_rollout(NAME)
    for _ in range(6):
        release.ask(400)
        release.look()
    assert release.client.serving.get(NAME).canary is None


def test_no_request_fails_while_versions_follow_each_other_and_each_names_who_answered(either: Release) -> None:
    verbs, stop = either.client.serving, threading.Event()
    answered: list[set[int]] = []
    failed: list[BaseException] = []
    rows = pl.DataFrame({f"x{i}": [0.1, -0.4] for i in range(3)})

    def ask() -> None:
        while not stop.is_set():
            try:
                answered.append(set(verbs.predict(NAME, rows)["version"]))
            except BaseException as error:
                failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    seen = []
    try:
        for number in (2, 1, 2):
            verbs.deploy(NAME, "late", number)
            seen.append(set(verbs.predict(NAME, rows)["version"]))
        verbs.rollback(NAME)
    finally:
        stop.set()
        thread.join()
    assert seen == [{2}, {1}, {2}]  # who deployed is answered by what was deployed
    assert failed == []
    assert all(len(versions) == 1 for versions in answered)
    assert next((x.number, x.change) for x in verbs.revisions(NAME)) == (5, "rollback")
    assert verbs.get(NAME).stable.number == 1  # type: ignore[union-attr]


def test_an_ab_test_finds_the_better_arm_by_labels_and_ends_with_it(either: Release) -> None:
    verbs = either.client.serving
    verbs.start_ab(NAME, [ArmWish(model="late", number=3, share=0.5)], reward="correct", planned_rows=500)
    looks = 0
    for _ in range(4):
        either.ask(200, labelled=True)
        either.settle()
        looks += 1
        latest = verbs.ab(NAME).latest
        assert latest is not None
        if latest.better is not None:
            break
    assert latest.better == "stable"
    worse = next(arm for arm in latest.arms if arm.arm == "arm-1")
    assert worse.high < 0
    assert worse.p < 0.05
    assert len(verbs.ab_looks(NAME)) == looks
    assert [x.number for x in verbs.stop_ab(NAME, keep="stable").routes] == [1]
    assert verbs.ab(NAME).state == "stopped"


def test_a_bandit_moves_to_the_better_arm_and_counts_a_late_label_once(release: Release) -> None:
    test = release.client.serving.start_ab(
        NAME, [ArmWish(model="late", number=3, share=0.5)], policy="thompson", settings={"min_rows": 30}, planned_rows=500
    )
    assert {arm.arm: arm.number for arm in test.arms} == {"stable": 1, "arm-1": 3}
    answered = [release.ask(400, labelled=True) for _ in range(2)]
    release.settle()
    looked = release.client.serving.ab(NAME).latest
    assert looked is not None
    assert looked.labelled == 800
    shares = {arm.arm: arm.share for arm in looked.arms}
    assert shares["stable"] > 0.9
    release.tell(answered[0]["prediction_id"].to_list(), answered[0]["label"].to_numpy())  # the same labels again
    release.settle()
    assert release.client.serving.ab(NAME).latest.id == looked.id  # type: ignore[union-attr]
    later = release.ask(400)
    assert (later["version"] == 1).mean() > 0.9
    assert looked.better == "stable"


def test_a_shadow_is_compared_with_what_was_answered(release: Release) -> None:
    release.client.serving.start_shadow(NAME, 3)
    found = release.ask(200)
    assert set(found["version"]) == {1}
    report = release.client.serving.compare_shadow(NAME)
    assert (report.pairs, report.number, report.beside_number) == (200, 3, 1)
    assert report.agreement < 0.2  # it has learned the opposite
    assert report.correlation < -0.9
    assert len(report.worst) == 10


def test_an_entity_keeps_its_arm_while_a_canary_grows(release: Release) -> None:
    release.client.serving.start_canary(NAME, 2, share=0.2)
    frame = pl.DataFrame({f"x{i}": [0.1] * 500 for i in range(3)})
    ids = [f"person-{i}" for i in range(500)]
    before = release.client.serving.predict(NAME, frame, ids=ids)["version"]
    release.client.serving.set_traffic(NAME, 0.6)
    after = release.client.serving.predict(NAME, frame, ids=ids)["version"]
    assert ((before == 2) & (after != 2)).sum() == 0
    assert 0.5 < (after == 2).mean() < 0.7


def test_a_plan_shows_what_the_verb_would_change_and_changes_nothing(release: Release) -> None:
    verbs = release.client.serving
    planned = verbs.plan("start_canary", NAME, number=2, share=0.25)
    assert [(x.path, x.before, x.after) for x in planned.changes] == [
        ("routes.canary", None, {"version": "late:2", "share": 0.25}),
        ("routes.stable.share", 1.0, 0.75),
    ]
    assert len(verbs.revisions(NAME)) == 1
    with pytest.raises(Conflict, match="late:1"):
        verbs.plan("start_canary", NAME, number=1)
    verbs.start_canary(NAME, 2, share=0.25)
    assert verbs.diff(NAME, 1).changes == planned.changes


def test_a_rollback_brings_the_options_back_and_a_drill_leaves_them(either: Release) -> None:
    verbs = either.client.serving
    verbs.configure(NAME, {"limits.max_rows": 500})
    verbs.deploy(NAME, "late", 2)
    verbs.configure(NAME, {"limits.max_rows": 100})
    verbs.rollback(NAME, drill=True)
    held = verbs.get(NAME)
    assert (held.options.limits.max_rows, held.stable.number) == (100, 2)  # type: ignore[union-attr]
    verbs.rollback(NAME)
    held = verbs.get(NAME)
    assert (held.options.limits.max_rows, held.stable.number) == (500, 1)  # type: ignore[union-attr]


def test_whoever_is_in_the_holdout_stays_with_the_stable_version_and_the_log_says_so(release: Release) -> None:
    release.client.serving.configure(NAME, {"routing.holdout": 0.3})
    release.client.serving.start_canary(NAME, 2, share=0.5)
    found = release.ask(1000)
    log = release.client.serving.predictions(NAME)
    held = log.filter(pl.col("arm") == "holdout")
    assert 230 < held.height < 370
    assert set(held["version"]) == {1}
    assert 0.28 < (found["version"] == 2).mean() < 0.42  # half of those outside the holdout


def test_a_sticky_entity_stays_with_its_arm_whatever_the_id(release: Release) -> None:
    release.client.serving.configure(NAME, {"routing.sticky": "x0"})
    release.client.serving.start_canary(NAME, 2, share=0.5)
    frame = pl.DataFrame({"x0": [float(i % 20) for i in range(400)], "x1": [0.1] * 400, "x2": [0.2] * 400})
    found = release.client.serving.predict(NAME, frame).with_columns(entity=frame["x0"])
    arms = found.group_by("entity").agg(pl.col("version").n_unique())["version"]
    assert set(arms) == {1}
    assert set(found["version"]) == {1, 2}


def test_a_deployed_version_is_not_deleted_and_the_reason_is_told(release: Release) -> None:
    release.client.serving.start_canary(NAME, 2, share=0.1)
    with pytest.raises(Conflict, match="deployment api"):
        release.client.registry.delete_version("late", 2)


def test_a_change_that_is_not_committed_yet_is_looked_for_again(release: Release) -> None:
    platform = release.transport.platform
    project = str(platform.database.read(lambda c: c.exec_driver_sql("SELECT project FROM deployment").scalar()))
    table = live_table(platform.database, platform.blobs, platform.settings)
    assert table.get(project, NAME).revision == 1
    note_change()
    assert table.get(project, NAME).revision == 1  # somebody asks between a change's announcement and its commit
    _next_revision(release, 2)
    assert table.get(project, NAME).revision == 2
    note_change()
    note_change()
    _next_revision(release, 3)
    assert table.get(project, NAME).revision == 3  # of two changes that were announced the first can be seen
    _next_revision(release, 4)
    assert table.get(project, NAME).revision == 4


def _next_revision(release: Release, number: int) -> None:
    columns = "project, deployment, routes, change, created_at, created_by, actor_kind, reason, override_reason, duration_ms, options"
    last = f"SELECT '{number:032}', {number}, {columns} FROM deployment_revision WHERE number = {number - 1}"
    release.transport.platform.database.write(
        lambda c: c.exec_driver_sql(f"INSERT INTO deployment_revision (id, number, {columns}) {last}")
    )
