"""Growing canaries and A/B tests, decided on values."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from rung.core.errors import Conflict, Invalid
from rung.core.ids import new_id
from rung.core.records import replaced
from rung.serving.ab_records import AbArm, AbTest
from rung.serving.ab_rules import check_reward, compared, concluded, rewards, sums
from rung.serving.gates import ROLLOUT_GATES, ArmSeen, Look
from rung.serving.option_rules import differences, option_at, paths, state_of, with_options
from rung.serving.options import DeploymentOptions, RolloutPlan
from rung.serving.records import Change, Revision, Route
from rung.serving.rollout_records import GateFinding, Rollout
from rung.serving.rollout_rules import action_of, after_arms, after_revision, is_news, judged, spent
from rung.serving.rules import grown_from, kept_arm, with_arms, with_canary, with_ranges, without_canary

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STABLE = (Route(model="m", number=1, share=1.0, arm="stable"),)
ROLLOUT = Rollout(
    id=new_id(), deployment="d", model="m", number=2, plan=RolloutPlan(steps=(0.1, 0.5, 1.0), step_rows=100), state="growing", step=0,
    share=0.1, first_revision=2, step_revision=2, revision=2, started_at=NOW, step_at=NOW, changed_at=NOW,
)  # fmt: skip


def finding(outcome: str, *, needed: bool = True) -> GateFinding:
    return GateFinding(gate="g", outcome=outcome, figure=1.0, limit=2.0, needed=needed, reason=f"It {outcome}.")  # type: ignore[arg-type]


def revision(change: Change, routes: tuple[Route, ...]) -> Revision:
    return Revision(
        id=new_id(), deployment="d", number=9, routes=routes, change=change, created_at=NOW, created_by="ann", actor_kind="user"
    )


def arm(rows: int = 400, *, errors: int = 0, shift: float = 0.0, slow: float = 1.0, labels: float | None = None) -> ArmSeen:
    chance = np.random.default_rng(rows)
    scores = np.clip(chance.beta(2, 5, rows) + shift, 0, 1)
    known = scores if labels is not None else scores[:0]
    told = (chance.random(known.size) < (known if labels != 0 else 1 - known)).astype(float)
    return ArmSeen(rows, errors, scores, slow * chance.lognormal(0, 0.2, rows), told, known)


@pytest.mark.parametrize("name", ROLLOUT_GATES.names())
def test_any_gate_lacks_evidence_on_nothing_and_never_passes_it(name: str) -> None:
    gate, nothing = ROLLOUT_GATES.get(name), ArmSeen(0, 0, np.empty(0), np.empty(0))
    for look in (Look(nothing, nothing, 0.01), Look(nothing, arm(), 0.01), Look(arm(3), arm(3), 0.01)):
        found = gate.judge(look, gate.checked({}))
        assert found.outcome == "insufficient"
        assert found.gate == name
        assert found.reason
        assert "nan" not in found.reason
    with pytest.raises(Invalid):
        gate.checked({"no_such_setting": 1})


@pytest.mark.parametrize("name", ROLLOUT_GATES.names())
def test_any_gate_passes_a_version_that_is_alike(name: str) -> None:
    gate = ROLLOUT_GATES.get(name)
    assert gate.judge(Look(arm(3000, labels=1.0), arm(3001, labels=1.0), 0.01), gate.checked({})).outcome == "passed"


@pytest.mark.parametrize(
    ("name", "worse"), [("errors", arm(errors=60)), ("latency", arm(slow=20)), ("shift", arm(shift=0.8)), ("performance", arm(labels=0))]
)
def test_a_gate_fails_what_is_surely_beyond_its_limit(name: str, worse: ArmSeen) -> None:
    gate = ROLLOUT_GATES.get(name)
    found = gate.judge(Look(worse, arm(3000, labels=1.0), 0.001), gate.checked({}))
    assert found.outcome == "failed"
    assert found.low > found.limit


def test_the_bounds_of_failed_rows_are_those_of_clopper_and_pearson() -> None:
    from scipy.stats import binomtest  # the independent reference

    gate = ROLLOUT_GATES.get("errors")
    found = gate.judge(Look(arm(188, errors=12), arm(), 0.05), gate.checked({}))
    other = binomtest(12, 200).proportion_ci(0.9, method="exact")
    assert (found.low, found.high) == pytest.approx((other.low, other.high))


def test_all_looks_together_spend_no_more_than_allowed() -> None:
    assert sum(spent(k) for k in range(1, 100_000)) <= 0.05
    assert spent(1) == pytest.approx(0.025)


def test_a_canary_is_looked_at_when_its_evidence_has_grown_by_half() -> None:
    assert not is_news(ROLLOUT, 19, 0, at_step_end=False)
    assert is_news(ROLLOUT, 20, 0, at_step_end=False)
    once = replaced(ROLLOUT, looks=1, looked_rows=40, looked_labels=10)
    assert not is_news(once, 59, 14, at_step_end=False)
    assert is_news(once, 60, 10, at_step_end=False)
    assert is_news(once, 40, 15, at_step_end=False)
    assert is_news(once, 41, 10, at_step_end=True)
    assert not is_news(once, 40, 10, at_step_end=True)


def test_one_gate_that_fails_is_enough_and_thin_evidence_never_passes() -> None:
    plan = ROLLOUT.plan
    assert judged(plan, [finding("passed"), finding("failed")], 10, 0)[0] == "failed"
    assert judged(plan, [finding("passed"), finding("insufficient")], 500, 0)[0] == "insufficient"
    assert judged(plan, [finding("passed"), finding("insufficient", needed=False)], 500, 0)[0] == "passed"
    assert judged(plan, [finding("passed")], 99, 0)[0] == "insufficient"
    assert judged(replaced(plan, step_s=60.0), [finding("passed")], 500, 59)[0] == "insufficient"


def test_a_canary_grows_is_promoted_waits_or_goes_back() -> None:
    assert action_of(ROLLOUT, "passed", waited_s=0)[0] == "grow"
    assert action_of(replaced(ROLLOUT, step=1, share=0.5), "passed", waited_s=0)[0] == "promote"
    assert action_of(ROLLOUT, "failed", waited_s=0)[0] == "roll_back"
    assert action_of(ROLLOUT, "insufficient", waited_s=0)[0] == "wait"
    assert action_of(ROLLOUT, "insufficient", waited_s=1e9)[0] == "roll_back"
    paused = replaced(ROLLOUT, state="paused")
    assert action_of(paused, "passed", waited_s=1e9)[0] == "wait"
    assert action_of(paused, "failed", waited_s=0)[0] == "roll_back"


def test_what_somebody_does_beside_a_rollout_pauses_or_ends_it() -> None:
    growing = with_canary(STABLE, "m", 2, 0.3)
    assert after_revision(ROLLOUT, revision("traffic", growing)).state == "paused"
    assert after_revision(ROLLOUT, revision("traffic", growing)).share == 0.3
    assert after_revision(ROLLOUT, revision("configure", growing)).state == "growing"
    assert after_revision(ROLLOUT, revision("drill", STABLE)).state == "growing"
    assert after_revision(ROLLOUT, revision("abort", STABLE)).state == "aborted"
    assert after_revision(ROLLOUT, revision("deploy", STABLE)).state == "overtaken"
    assert after_revision(ROLLOUT, revision("canary", growing)).state == "overtaken"


def test_a_plan_begins_at_the_share_asked_for() -> None:
    assert grown_from(0.02, None).steps == (0.02, 0.05, 0.25, 0.5, 1.0)
    assert grown_from(0.3, RolloutPlan(steps=(0.1, 0.5, 1.0))).steps == (0.3, 0.5, 1.0)
    with pytest.raises(Invalid, match="grow"):
        grown_from(0.1, RolloutPlan(steps=(0.5, 0.2)))


def test_a_canary_and_a_shadow_may_stand_side_by_side() -> None:
    both = with_canary(with_canary(STABLE, "m", 3, 0.0), "m", 2, 0.25)
    assert {(x.arm, x.number, x.share) for x in both} == {("stable", 1, 0.75), ("canary", 2, 0.25), ("shadow", 3, 0.0)}
    assert [x.arm for x in without_canary(both)] == ["stable", "shadow"]
    assert [x.arm for x in without_canary(without_canary(both))] == ["stable"]


def test_arms_of_a_test_have_their_shares_and_one_of_them_stays() -> None:
    routes = with_arms(STABLE, [("m", 2, 0.2), ("n", 1, 0.3)])
    assert [(x.arm, x.share) for x in routes] == [("stable", 0.5), ("arm-1", 0.2), ("arm-2", 0.3)]
    (kept,) = kept_arm(routes, "arm-2")
    assert (kept.model, kept.number, kept.share, kept.arm) == ("n", 1, 1.0, "stable")
    for arms in ([("m", 1, 0.5)], [("m", 2, 0.2), ("m", 2, 0.2)]):
        with pytest.raises(Conflict):
            with_arms(STABLE, arms)
    with pytest.raises(Invalid):
        with_arms(STABLE, [("m", 2, 0.7), ("m", 3, 0.6)])
    with pytest.raises(Conflict, match="A/B"):
        with_canary(routes, "m", 9, 0.1)
    with pytest.raises(Conflict, match="arm-7"):
        kept_arm(routes, "arm-7")


def test_a_canary_keeps_its_range_as_it_grows_and_another_version_begins_anew() -> None:
    small = with_ranges(with_canary(STABLE, "m", 2, 0.1), STABLE)
    large = with_ranges(with_canary(STABLE, "m", 2, 0.5), small)
    assert small[1].ranges == ((0, 100_000),)
    assert large[1].ranges == ((0, 500_000),)


def test_rewards_are_those_of_the_hand() -> None:
    scores, labels = np.array([0.9, 0.2, 0.6]), np.array([1.0, 1.0, 0.0])
    money = {"tp": 10.0, "fp": -3.0, "fn": -5.0, "tn": 0.0}
    assert rewards("label", scores, labels, threshold=0.5, values={}).tolist() == [1, 1, 0]
    assert rewards("correct", scores, labels, threshold=0.5, values={}).tolist() == [1, 0, 0]
    assert rewards("squared_error", scores, labels, threshold=0.5, values={}) == pytest.approx([-0.01, -0.64, -0.36])
    assert rewards("value", scores, labels, threshold=0.5, values=money).tolist() == [10, -5, -3]
    check_reward("value", money)
    with pytest.raises(Invalid, match="tn"):
        check_reward("value", {"tp": 1.0})
    with pytest.raises(Invalid):
        check_reward("label", money)


def test_an_ab_test_concludes_only_beyond_chance_and_p_never_rises() -> None:
    arms = (AbArm(arm="stable", model="m", number=1, share=0.5), AbArm(arm="arm-1", model="m", number=2, share=0.5))
    test = AbTest(
        id=new_id(), deployment="d", arms=arms, policy="split", reward="label", state="running", first_revision=2, revision=2,
        planned_rows=1000, started_at=NOW, started_by="ann", changed_at=NOW,
    )  # fmt: skip
    chance = np.random.default_rng(0)
    alike = {x.arm: sums(x.arm, (chance.random(2000) < 0.4).astype(float)) for x in arms}
    assert concluded(test, compared(test, alike, {}, {}))[1] is None
    better = {
        "stable": sums("stable", (chance.random(2000) < 0.4).astype(float)),
        "arm-1": sums("arm-1", (chance.random(2000) < 0.6).astype(float)),
    }
    looks = compared(test, better, {}, {})
    assert concluded(test, looks)[1] == "arm-1"
    assert looks[1].low < 0.2 < looks[1].high
    assert np.isnan(compared(test, {x.arm: sums(x.arm, np.ones(5)) for x in arms}, {}, {})[1].low)
    assert after_arms(test, revision("deploy", STABLE)).state == "overtaken"


def test_options_are_set_by_path_and_a_misspelt_one_is_told_the_nearest() -> None:
    options = with_options(
        DeploymentOptions(), {"limits.requests_per_s": 100, "rollout.gates.errors.max_share": 0.1, "routing.settings.epsilon": 1}
    )
    assert options.limits.requests_per_s == 100
    assert options.rollout is not None
    assert options.rollout.gates == {"errors": {"max_share": 0.1}}
    assert option_at(options, "routing.settings.epsilon") == 1
    assert with_options(options, {"limits.requests_per_s": None, "rollout": None}).limits == DeploymentOptions().limits
    with pytest.raises(Invalid, match=r"limits\.requests_per_s"):
        with_options(options, {"limits.request_per_s": 1})
    with pytest.raises(Invalid, match=r"Option 'limits\.requests_per_s' does not take 'many': expected a number, got text\.") as error:
        with_options(options, {"limits.requests_per_s": "many"})
    assert "rung endpoint options" in str(error.value.hint)
    with pytest.raises(Invalid, match=r"Option 'routing\.holdout' does not take 2: expected a number"):
        with_options(options, {"routing.holdout": 2})


@pytest.mark.parametrize("path", paths())
def test_every_option_that_is_told_can_be_put_back(path: str) -> None:
    assert with_options(DeploymentOptions(), {path: None}) == DeploymentOptions()


def test_states_differ_by_path() -> None:
    before = state_of(STABLE, DeploymentOptions())
    after = state_of(with_canary(STABLE, "m", 2, 0.25), with_options(DeploymentOptions(), {"limits.burst": 3}))
    assert [(x.path, x.before, x.after) for x in differences(before, after)] == [
        ("limits.burst", 0, 3),
        ("routes.canary", None, {"version": "m:2", "share": 0.25}),
        ("routes.stable.share", 1.0, 0.75),
    ]
