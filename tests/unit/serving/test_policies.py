"""Routing policies: which share each arm has, from settings and rewards."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from scipy.stats import norm

from rung.core.errors import Invalid, NotFound
from rung.core.ids import new_id
from rung.serving.options import DeploymentOptions, RoutingOptions
from rung.serving.records import ArmRewards, Deployment, Route, RoutingState
from rung.serving.routing import ROUTING, router_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROUTES = (Route(model="m", number=1, share=0.5, arm="stable"), Route(model="m", number=2, share=0.5, arm="arm-1"))


def earned(arm: str, rows: int, mean: float) -> ArmRewards:
    """Rewards of 0 and 1."""
    return ArmRewards(arm=arm, rows=rows, total=rows * mean, squares=rows * mean)


def deployment(routes: tuple[Route, ...], **routing: object) -> Deployment:
    options = DeploymentOptions(routing=RoutingOptions(**routing))  # type: ignore[arg-type]
    return Deployment(
        id=new_id(), name="api", environment="staging", revision=1, routes=routes, created_at=NOW, changed_at=NOW, options=options
    )


@pytest.mark.parametrize("name", ROUTING.names())
def test_shares_of_any_policy_are_shares_whatever_was_earned(name: str) -> None:
    policy = ROUTING.get(name)
    for rewards in ({}, {"stable": earned("stable", 10, 0.5)}, {a: earned(a, 500, m) for a, m in (("stable", 0.2), ("arm-1", 0.9))}):
        shares = policy.wished(ROUTES, {}, rewards)
        assert set(shares) == {"stable", "arm-1"}
        assert sum(shares.values()) == pytest.approx(1)
        assert all(share >= 0 for share in shares.values())
        assert policy.wished(ROUTES, {}, rewards) == shares
    with pytest.raises(Invalid):
        policy.checked({"no_such_setting": 1})


def test_epsilon_greedy_leaves_epsilon_to_all_alike() -> None:
    rewards = {"stable": earned("stable", 100, 0.4), "arm-1": earned("arm-1", 100, 0.6)}
    shares = ROUTING.get("epsilon_greedy").wished(ROUTES, {"epsilon": 0.2}, rewards)
    assert shares == pytest.approx({"stable": 0.1, "arm-1": 0.9})


def test_few_labels_move_no_share() -> None:
    rewards = {"stable": earned("stable", 49, 0.1), "arm-1": earned("arm-1", 5000, 0.9)}
    for name in ("epsilon_greedy", "thompson"):
        assert ROUTING.get(name).wished(ROUTES, {}, rewards) == {"stable": 0.5, "arm-1": 0.5}


def test_thompson_gives_an_arm_the_probability_that_it_is_best() -> None:
    one, other = earned("stable", 200, 0.50), earned("arm-1", 200, 0.55)
    shares = ROUTING.get("thompson").wished(ROUTES, {"floor": 0.0}, {"stable": one, "arm-1": other})
    # two normal means: P(best) = Phi(difference / joint error); 20,000 draws know it to 0.01
    assert shares["arm-1"] == pytest.approx(norm.cdf(0.05 / (one.error**2 + other.error**2) ** 0.5), abs=0.015)


def test_a_deployment_whose_stable_version_answers_all_has_no_router() -> None:
    alone = (Route(model="m", number=1, share=1.0, arm="stable"), Route(model="m", number=2, share=0.0, arm="shadow"))
    assert router_of(deployment(alone), None) is None
    assert router_of(deployment(alone, holdout=0.1), None) is not None
    with pytest.raises(NotFound, match="nothing"):
        router_of(deployment(ROUTES, policy="nothing"), None)


def test_learned_ranges_hold_for_their_own_test_and_a_policy_that_learns() -> None:
    state = RoutingState(deployment="api", revision=1, salt="one", as_of=NOW, ranges={"arm-1": ((0, 10_000),)})
    keys = [str(i) for i in range(4000)]

    def taken(**routing: object) -> float:
        router = router_of(deployment(ROUTES, **routing), state)
        assert router is not None
        return sum(arm == "arm-1" for arm in router.choose(keys, None, 0)) / len(keys)

    assert taken(policy="thompson", salt="one") < 0.03
    assert taken(policy="thompson", salt="another") > 0.4
    assert taken(policy="split", salt="one") > 0.4
