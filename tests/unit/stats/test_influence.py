"""How strongly params go along with a metric."""

from __future__ import annotations

from math import nan, sqrt

import numpy as np
import pytest
from scipy.stats import spearmanr

from rung.stats.influence import influences


def test_numbers_have_the_rank_correlation_of_spearman() -> None:
    rng = np.random.default_rng(0)
    rate = rng.choice([0.01, 0.1, 0.3], 40)
    auc = rate + rng.normal(0, 0.1, 40)
    (found,) = influences({"rate": [str(value) for value in rate]}, auc.tolist())
    assert found.strength == pytest.approx(abs(spearmanr(rate, auc).statistic))
    assert found.direction == 1
    assert found.low <= found.strength <= found.high
    assert (found.runs, found.values) == (40, 3)


def test_texts_have_the_root_of_epsilon_squared_of_the_ranks() -> None:
    # ranks 0 1 2 | 3 4 5: total 17.5 over 5, within 4 over 4: 1 - 1 / 3.5
    (found,) = influences({"kind": ["a", "a", "a", "b", "b", "b"]}, [1, 2, 3, 4, 5, 6])
    assert found.strength == pytest.approx(sqrt(1 - 1 / 3.5))
    assert found.direction == 0


def test_the_strongest_comes_first_and_what_says_nothing_is_left_out() -> None:
    auc = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    params = {
        "weak": [1, 5, 2, 4, 3, 6],
        "strong": [6, 5, 4, 3, 2, 1],
        "same": [1] * 6,
        "folder": [f"/tmp/{n}" for n in range(6)],
        "rare": [1, None, None, None, None, 2],
    }
    found = influences(params, auc)
    assert [(item.param, item.direction) for item in found] == [("strong", -1), ("weak", 1)]


def test_runs_without_a_finite_metric_do_not_count() -> None:
    (found,) = influences({"depth": [1, 2, 3, 4, 5, 99]}, [1, 2, 3, 4, 5, nan])
    assert (found.runs, found.strength) == (5, pytest.approx(1))
    assert influences({"depth": [1, 2, 3, 4]}, [1, 2, 3, 4]) == []
    assert influences({"depth": [1, 2, 3, 4, 5]}, [7, 7, 7, 7, 7]) == []
