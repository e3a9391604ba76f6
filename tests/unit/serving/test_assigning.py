"""Who answers a key: exact shares, the same arm for ever, and nobody moved by another's growth."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from rung.serving.assigning import MILLION, RangeRouter, laid_out, point, seed_of

_CHANCE = random.Random(0)
KEYS = {
    "ids": [
        f"{0x1975_0000_0000 + i // 40:012x}7{i % 40:03x}8{_CHANCE.getrandbits(60):015x}" for i in range(50_000)
    ],  # as ``new_id`` makes them
    "numbers": [str(i) for i in range(50_000)],
    "names": [f"customer-{i:08d}@example.org" for i in range(50_000)],
}


@pytest.mark.parametrize("kind", sorted(KEYS))
@pytest.mark.parametrize("seed", ["api/", "other/", "a test"])
def test_points_of_any_kind_of_key_are_uniform(kind: str, seed: str) -> None:
    points = np.array([point(key, seed_of(seed)) for key in KEYS[kind]])
    counts = np.bincount(points * 500 // MILLION, minlength=500)
    statistic = ((counts - 100) ** 2 / 100).sum()
    assert statistic < chi2.ppf(1 - 1e-6, 499)


def test_two_seeds_assign_independently() -> None:
    one = np.array([point(key, seed_of("one")) for key in KEYS["numbers"]]) * 20 // MILLION
    other = np.array([point(key, seed_of("other")) for key in KEYS["numbers"]]) * 20 // MILLION
    counts = np.zeros((20, 20))
    np.add.at(counts, (one, other), 1)
    assert ((counts - 125) ** 2 / 125).sum() < chi2.ppf(1 - 1e-6, 361)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.1, 0.5, 0.999])
def test_an_arm_takes_its_share_within_chance(share: float) -> None:
    router = RangeRouter(laid_out({"canary": share}), seed=seed_of("x"))
    taken = sum(arm == "canary" for arm in router.choose(KEYS["ids"], None, 0))
    assert abs(taken - 50_000 * share) < 5 * np.sqrt(50_000 * share * (1 - share))


def test_one_row_and_many_rows_go_the_same_way_and_an_entity_goes_before_the_id() -> None:
    ranges = laid_out({"canary": 0.2, "arm-1": 0.3})
    router = RangeRouter(ranges, seed=seed_of("x"), holdout=0.1, holdout_seed=seed_of("h"))
    keys = KEYS["names"][:2000]
    many = router.choose(keys, None, 0)
    assert many == [router.choose([key], None, 0) for key in keys]
    assert router.choose(KEYS["ids"][:2000], keys, 7) == many
    assert {*many} == {"stable", "canary", "arm-1", "holdout"}


def test_nothing_and_everything_are_exact() -> None:
    keys = KEYS["numbers"][:5000]
    assert {*RangeRouter(laid_out({"canary": 1.0}), seed=seed_of("x")).choose(keys, None, 0)} == {"canary"}
    assert {*RangeRouter(laid_out({"canary": 0.0}), seed=seed_of("x")).choose(keys, None, 0)} == {"stable"}
    assert {*RangeRouter({}, seed=3, holdout=1.0, holdout_seed=5).choose(keys, None, 0)} == {"holdout"}


def test_half_a_character_is_a_key_too() -> None:
    assert RangeRouter(laid_out({"canary": 1.0}), seed=1).choose(["\ud800"], None, 0) == "canary"


def test_the_holdout_is_the_same_people_whatever_the_arms_are() -> None:
    keys = KEYS["names"]
    held = []
    for share in (0.05, 0.5):
        router = RangeRouter(laid_out({"canary": share}), seed=seed_of("x"), holdout=0.1, holdout_seed=seed_of("h"))
        held.append([arm == "holdout" for arm in router.choose(keys, None, 0)])
    assert held[0] == held[1]


@given(st.lists(st.tuples(st.floats(0, 0.33), st.floats(0, 0.33), st.floats(0, 0.33)), min_size=1, max_size=6))
def test_growing_arms_keep_every_key_and_never_overlap(steps: list[tuple[float, float, float]]) -> None:
    shares = dict.fromkeys(("a", "b", "c"), 0.0)
    ranges: dict[str, tuple[tuple[int, int], ...]] = {}
    for step in steps:
        grown = {arm: max(shares[arm], share) for arm, share in zip(shares, step, strict=True)}
        after = laid_out(grown, ranges)
        for arm, spans in ranges.items():
            assert _inside(spans, after[arm])
        taken = [cell for spans in after.values() for start, stop in spans for cell in (start, stop)]
        assert all(0 <= cell <= MILLION for cell in taken)
        spans = sorted(span for held in after.values() for span in held)
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
        assert {arm: sum(b - a for a, b in held) for arm, held in after.items()} == {arm: round(x * MILLION) for arm, x in grown.items()}
        shares, ranges = grown, after


def test_an_arm_that_shrinks_takes_no_new_key() -> None:
    before = laid_out({"a": 0.5, "b": 0.3})
    after = laid_out({"a": 0.2, "b": 0.3}, before)
    assert _inside(after["a"], before["a"])
    assert after["b"] == before["b"]


def _inside(spans: tuple[tuple[int, int], ...], others: tuple[tuple[int, int], ...]) -> bool:
    return all(any(low <= start and stop <= high for low, high in others) for start, stop in spans)
