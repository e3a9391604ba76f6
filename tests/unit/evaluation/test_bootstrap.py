"""Intervals and slices of evaluations."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from rung.core.errors import Invalid
from rung.evaluation.bootstrap import paired_difference, wilson
from rung.evaluation.metric import METRICS
from rung.evaluation.records import SliceBy
from rung.evaluation.rows import ScoredRows, compare, cut, from_parquet, slice_scores


def test_wilson_s_interval_agrees_with_the_published_example() -> None:
    # 15 of 148 at 95 %: Newcombe (1998), table I, method 3: 0.0624 to 0.1605
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_model_compared_with_itself_gains_nothing_for_sure() -> None:
    labels, scores = np.array([0.0, 1, 0, 1, 1]), np.array([0.1, 0.8, 0.4, 0.3, 0.9])
    found = paired_difference(METRICS.get("accuracy"), labels, scores, scores, resamples=200)
    assert (found.gain, found.low, found.high) == (0.0, 0.0, 0.0)


def test_the_interval_of_a_difference_of_means_is_that_of_the_normal_law() -> None:
    rng = np.random.default_rng(1)
    labels = rng.normal(size=2000)
    candidate, champion = labels + rng.normal(0, 1, 2000), labels + rng.normal(0, 1.1, 2000)
    found = paired_difference(METRICS.get("mae"), labels, candidate, champion, resamples=4000)
    gains = np.abs(champion - labels) - np.abs(candidate - labels)
    half = 1.96 * gains.std() / np.sqrt(2000)
    assert found.gain == pytest.approx(gains.mean())
    assert (found.low, found.high) == pytest.approx((gains.mean() - half, gains.mean() + half), abs=0.1 * half)


def test_the_seed_decides_the_interval() -> None:
    rng = np.random.default_rng(2)
    labels, a, b = (rng.random(300) < 0.4).astype(float), rng.random(300), rng.random(300)
    first, again, other = (paired_difference(METRICS.get("roc_auc"), labels, a, b, resamples=300, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_scored_rows_survive_parquet() -> None:
    rows = ScoredRows(np.array([0.0, 1]), np.array([0.1, 0.9]), pl.DataFrame({"origin": ["origin=JFK", "origin=LGA"]}))
    back = from_parquet(rows.to_parquet())
    assert np.array_equal(back.scores, rows.scores)
    assert back.slices.equals(rows.slices)


def test_slices_are_values_or_bands_and_small_ones_are_not_judged() -> None:
    frame = pl.DataFrame({"origin": ["JFK"] * 60 + ["LGA"] * 40 + [None] * 5, "hour": list(range(105))})
    named = cut(frame, [SliceBy(column="origin"), SliceBy(column="hour", bands=3)])
    rows = ScoredRows(np.r_[np.zeros(50), np.ones(55)], np.linspace(0, 1, 105), named)
    found = {item.slice: item.rows for item in slice_scores("binary", rows, 0.5)}
    assert found == {
        "origin=JFK": 60, "origin=LGA": 40, "hour < 34.6667": 35, "hour in [34.6667, 69.3333)": 35, "hour >= 69.3333": 35,
    }  # fmt: skip


def test_other_rows_and_missing_slices_are_refused() -> None:
    rows = ScoredRows(np.array([0.0, 1]), np.array([0.1, 0.9]), pl.DataFrame())
    other = ScoredRows(np.array([1.0, 0]), np.array([0.1, 0.9]), pl.DataFrame())
    with pytest.raises(Invalid, match="same rows"):
        compare("binary", "accuracy", rows, other, rows.where(""), thresholds=(0.5, 0.5), resamples=100, confidence=0.95, seed=0)
    with pytest.raises(Invalid, match="no slice"):
        rows.where("origin=JFK")
    with pytest.raises(Invalid, match="'nothing'"):
        cut(pl.DataFrame({"a": [1]}), [SliceBy(column="nothing")])
