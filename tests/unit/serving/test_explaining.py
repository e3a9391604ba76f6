"""Explanations of versions: they add up to the score, for compiled models, models with texts, several classes and graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.core.errors import Invalid
from rung.registry.loading import predictor
from rung.serving.explaining import BASE, Explainer, background
from rung.serving.graph.surroundings import PlatformSurroundings
from rung.serving.graph.trying import rows_of, scores_by

RNG = np.random.default_rng(1)
FRAME = pl.DataFrame({f"x{i}": RNG.normal(size=300) for i in range(12)} | {"y": RNG.integers(0, 3, 300)})
INPUTS = FRAME.drop("y")
TWO = (FRAME["x0"] + FRAME["x1"] > 0).cast(pl.Int64)


@pytest.fixture
def explainer(client: Client, transport: LocalTransport) -> Callable[..., tuple[Explainer, Any]]:
    def made(estimator: Any, frame: pl.DataFrame, truth: pl.Series, *, data: bool = True) -> tuple[Explainer, Any]:
        if data:
            client.data.add("rows", frame)
        version = client.registry.register(
            "m", estimator.fit(frame, truth), example=frame, label="t", datasets=[("train", "rows", 1)] if data else []
        )
        scope = transport.platform.scope(transport.caller())
        loaded, fields = predictor(scope, version), version.signature.inputs
        around = PlatformSurroundings(scope, "d", version)
        score = scores_by({"": loaded})
        return Explainer(fields, lambda rows: score("", rows), lambda: background(version, fields, around), loaded), fields

    return made


@pytest.mark.parametrize(
    "estimator",
    [HistGradientBoostingClassifier(max_iter=20), make_pipeline(StandardScaler(), LogisticRegression())],
    ids=["trees", "linear"],
)
def test_contributions_and_base_add_up_to_the_score(explainer: Any, estimator: Any) -> None:
    found, fields = explainer(estimator, INPUTS, TWO)
    rows = rows_of(INPUTS.head(4), fields)
    told = found.explain(rows)
    assert list(told[0]) == [*INPUTS.columns, BASE]
    np.testing.assert_allclose([sum(one.values()) for one in told], estimator.predict_proba(INPUTS.head(4))[:, 1], atol=1e-9)
    strongest = max((name for name in told[0] if name != BASE), key=lambda name: sum(abs(one[name]) for one in told))
    assert strongest in {"x0", "x1"}


def test_texts_are_explained_by_mixtures(explainer: Any) -> None:
    frame = pl.DataFrame({"city": RNG.choice(["a", "b", "c"], 200).tolist(), "size": RNG.normal(size=200)})
    truth = (pl.Series(frame["city"]) == "a").cast(pl.Int64)
    encoded = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough"), LogisticRegression()
    )
    found, fields = explainer(encoded, frame, truth)
    told = found.explain(rows_of(frame.head(3), fields))
    np.testing.assert_allclose([sum(one.values()) for one in told], encoded.predict_proba(frame.head(3))[:, 1], atol=1e-9)
    assert all(abs(one["city"]) > abs(one["size"]) for one in told)


def test_of_several_classes_that_with_most_probability_is_explained(explainer: Any) -> None:
    model = LogisticRegression()
    found, fields = explainer(model, INPUTS, FRAME["y"])
    told = found.explain(rows_of(INPUTS.head(2), fields))
    np.testing.assert_allclose([sum(one.values()) for one in told], model.predict_proba(INPUTS.head(2)).max(axis=1), atol=1e-9)


def test_without_training_data_the_input_example_is_the_background(explainer: Any) -> None:
    model = LogisticRegression()
    found, fields = explainer(model, INPUTS, TWO, data=False)
    told = found.explain(rows_of(INPUTS.head(2), fields))
    np.testing.assert_allclose([sum(one.values()) for one in told], model.predict_proba(INPUTS.head(2))[:, 1], atol=1e-9)


def test_too_many_rows_are_not_explained(explainer: Any) -> None:
    found, fields = explainer(LogisticRegression(), INPUTS, TWO)
    with pytest.raises(Invalid, match="too many to explain"):
        found.explain(rows_of(INPUTS.head(101), fields))
