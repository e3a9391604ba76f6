"""What every gate holds to: it answers for a candidate with and without a champion, and refuses params it does not know."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from rung.core.errors import Invalid, NotFound
from rung.core.ids import new_id
from rung.evaluation.metric import all_scores
from rung.evaluation.records import Evaluation, SliceBy
from rung.evaluation.rows import ScoredRows, cut, slice_scores
from rung.registry.gate import GATES, Contender, GateCase, Trial, check_rules, judged
from rung.registry.records import Field, GateResult, GateRule, ModelVersion, Signature

AT = datetime(2013, 1, 1, tzinfo=UTC)
RNG = np.random.default_rng(5)
N = 2000
FRAME = pl.DataFrame({"origin": RNG.choice(["JFK", "LGA"], N)})
JFK = (FRAME["origin"] == "JFK").to_numpy()
LABELS = (RNG.random(N) < 0.4).astype(float)
GOOD = np.clip(0.4 + 0.25 * (LABELS - 0.4) + RNG.normal(0, 0.1, N), 0, 1)
WORSE = np.clip(GOOD + RNG.normal(0, 0.3, N), 0, 1)
WORSE_AT_JFK = np.where(JFK, WORSE, GOOD)
NEEDED = {"threshold": {"metric": "roc_auc", "at_least": 0.5}}


def contender(number: int, scores: np.ndarray, size_bytes: int = 1000) -> Contender:
    version = ModelVersion(
        id=new_id(), model="late", number=number, digest="blake3:" + "0" * 64, format="skops", files=(), size_bytes=size_bytes,
        signature=Signature(inputs=(Field(name="x", dtype="Float64"),)), task="binary", label="late", classes=(0, 1), threshold=None,
        datasets=(), libraries={}, created_at=AT, created_by="owner",
    )  # fmt: skip
    by = (SliceBy(column="origin"),)
    rows = ScoredRows(LABELS, scores, cut(FRAME, by))
    evaluation = Evaluation(
        id=new_id(), model="late", number=number, dataset="flights", dataset_number=1, task="binary",
        scores=all_scores("binary", LABELS, scores), slices=slice_scores("binary", rows, 0.5), slice_by=by, rows=N, rows_without_label=0,
        positive_share=0.4, threshold=None, rows_blob="blake3:" + "0" * 64, scoring_s=0.1, created_at=AT, created_by="owner",
    )  # fmt: skip
    return Contender(version, evaluation, rows)


def check(
    gate: str, candidate: Contender, champion: Contender | None = None, trial: Trial | None = None, **params: object
) -> list[GateResult]:
    shown = trial or Trial(rows=20, faults=(), load_s=0.1, single_row_ms=2.0)
    return judged(GateRule(gate=gate, params=params), GateCase(candidate, champion, lambda: shown))


@pytest.mark.parametrize("name", GATES.names())
def test_a_gate_lets_a_good_first_version_pass_with_a_reason(name: str) -> None:
    results = check(name, contender(1, GOOD), **NEEDED.get(name, {}))
    assert results
    assert all(result.passed and result.reason and result.gate == name for result in results)


@pytest.mark.parametrize("name", GATES.names())
def test_a_gate_lets_the_champions_equal_pass(name: str) -> None:
    assert all(result.passed for result in check(name, contender(2, GOOD), contender(1, GOOD), **NEEDED.get(name, {})))


@pytest.mark.parametrize("name", GATES.names())
def test_a_gate_refuses_params_it_does_not_know(name: str) -> None:
    with pytest.raises(Invalid, match="nonsense"):
        check_rules((GateRule(gate=name, params={**NEEDED.get(name, {}), "nonsense": 1}),))


def test_an_unknown_gate_is_refused_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match="better_than_champion"):
        check_rules((GateRule(gate="better"),))


def test_a_threshold_refuses_what_is_below_above_or_not_defined() -> None:
    assert not check("threshold", contender(1, WORSE), metric="roc_auc", at_least=0.99)[0].passed
    assert not check("threshold", contender(1, WORSE), metric="brier", at_most=0.001)[0].passed
    missing = check("threshold", contender(1, WORSE), metric="mae", at_least=0.1)[0]
    assert not missing.passed
    assert "roc_auc" in missing.reason
    assert check("threshold", contender(1, GOOD), metric="roc_auc", at_least=0.6, slice="origin=JFK")[0].slice == "origin=JFK"
    with pytest.raises(Invalid, match="at_least or at_most"):
        check("threshold", contender(1, GOOD), metric="roc_auc")


def test_a_worse_candidate_is_refused_and_a_better_one_passes_as_superior() -> None:
    good, worse = contender(1, GOOD), contender(2, WORSE)
    refused = check("better_than_champion", worse, good)[0]
    assert not refused.passed
    assert refused.low is not None
    assert refused.low < refused.value < refused.high < 0  # type: ignore[operator]  # all are there with low
    assert check("better_than_champion", good, worse, mode="superior", margin=0.0)[0].passed
    assert not check("better_than_champion", good, good, mode="superior", margin=0.0)[0].passed


def test_less_is_better_where_the_metric_says_so() -> None:
    gain = check("better_than_champion", contender(2, GOOD), contender(1, WORSE), metric="log_loss", mode="superior", margin=0.0)[0]
    assert gain.passed
    assert gain.value is not None
    assert gain.value > 0


def test_a_slice_that_got_worse_refuses_though_the_other_did_not() -> None:
    results = check("no_slice_worse", contender(2, WORSE_AT_JFK), contender(1, GOOD))
    assert [(result.slice, result.passed) for result in results] == [("origin=JFK", False)]


def test_a_contract_refuses_size_latency_and_faults() -> None:
    assert not check("contract", contender(1, GOOD, size_bytes=10**9))[0].passed
    assert not check("contract", contender(1, GOOD), trial=Trial(rows=20, faults=(), load_s=0.1, single_row_ms=5000.0))[0].passed
    broken = check("contract", contender(1, GOOD), trial=Trial(rows=20, faults=("It answers NaN.",), load_s=0.1, single_row_ms=1.0))
    assert broken[0].reason == "It answers NaN."
