"""What Python is answered about a frame: the same in process and over HTTP, whatever the model's task."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from rung.client.client import Client, connect
from rung.core.errors import Invalid, NotFound
from tests.servers import running_server

ROWS = pl.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), schema=["a", "b", "c"], orient="row")
MOVES = np.where(ROWS["a"] > 0.5, "up", np.where(ROWS["a"] < -0.5, "down", "flat"))
MODELS = {
    "value": LinearRegression().fit(ROWS.to_numpy(), ROWS["b"].to_numpy()),
    "binary": LogisticRegression().fit(ROWS.to_numpy(), np.where(ROWS["a"] > 0, "late", "on time")),
    "several": LogisticRegression().fit(ROWS.to_numpy(), MOVES),
}


def _deployed(client: Client) -> None:
    for name, model in MODELS.items():
        client.registry.register(name, model, example=ROWS, label="y")
        client.serving.deploy(name, name, 1, environment="dev")


@pytest.fixture(scope="module", params=["in process", "over HTTP"])
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("asked")
    if request.param == "in process":
        with connect(folder=folder) as client:
            _deployed(client)
            yield client
    else:
        with running_server(folder / "home", folder) as server, connect(server.url, server.token) as client:
            _deployed(client)
            yield client


def test_a_value_is_prediction_and_score(asked: Client) -> None:
    answers = asked.serving.predict("value", ROWS, batch=25)
    assert answers.columns == ["prediction_id", "predict", "score", "version"]
    assert answers["predict"].to_list() == pytest.approx(MODELS["value"].predict(ROWS.to_numpy()).tolist(), rel=1e-9)
    assert answers["score"].to_list() == answers["predict"].to_list()
    assert answers["prediction_id"].n_unique() == 60


def test_a_class_comes_with_the_score_it_was_chosen_by(asked: Client) -> None:
    answers = asked.serving.predict("binary", ROWS.head(9), ids=[f"r{k}" for k in range(9)])
    assert answers.columns == ["prediction_id", "predict", "score", "version"]
    assert answers["prediction_id"].to_list() == [f"r{k}" for k in range(9)]
    assert answers["score"].to_list() == pytest.approx(MODELS["binary"].predict_proba(ROWS.head(9).to_numpy())[:, 1].tolist(), rel=1e-9)
    threshold = asked.registry.version("binary", 1).threshold or 0.5
    assert answers["predict"].to_list() == ["on time" if score >= threshold else "late" for score in answers["score"]]


def test_several_classes_have_a_score_each(asked: Client) -> None:
    answers = asked.serving.predict("several", ROWS.to_pandas())
    assert answers.columns == ["prediction_id", "predict", "score_0", "score_1", "score_2", "version"]
    assert answers["predict"].to_list() == MODELS["several"].predict(ROWS.to_numpy()).tolist()
    expected = MODELS["several"].predict_proba(ROWS.to_numpy())
    np.testing.assert_allclose(answers.select("score_0", "score_1", "score_2").to_numpy(), expected, rtol=1e-9)


def test_dates_and_texts_are_inputs(asked: Client) -> None:
    table = ROWS.select("a").with_columns(
        day=pl.Series([date(2026, 1, 1) + timedelta(days=k) for k in range(60)]), kind=pl.Series(["x", "y"] * 30).cast(pl.Categorical)
    )
    from sklearn.compose import make_column_transformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    inputs = table.select("a", pl.col("kind").cast(pl.String))
    columns = make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough")
    model = make_pipeline(columns, LinearRegression()).fit(inputs.to_pandas(), ROWS["b"].to_numpy())
    asked.registry.register("mixed", model, example=inputs, label="y")
    asked.serving.deploy("mixed", "mixed", 1, environment="dev")
    answers = asked.serving.predict("mixed", table.select("a", "kind"), event_times=table["day"].cast(pl.Datetime("us")).to_list())
    assert answers["predict"].to_list() == pytest.approx(model.predict(inputs.to_pandas()).tolist(), rel=1e-9)


def test_each_row_tells_the_version_that_answered_it(asked: Client) -> None:
    asked.registry.register("binary", MODELS["binary"], example=ROWS, label="y")
    asked.serving.start_canary("binary", 2, share=0.5)
    answers = asked.serving.predict("binary", pl.concat([ROWS] * 5))
    assert set(answers["version"]) == {1, 2}


def test_what_cannot_be_answered_is_told(asked: Client) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        asked.serving.predict("nowhere", ROWS)
    with pytest.raises(Invalid, match="c"):
        asked.serving.predict("value", ROWS.select("a", "b"))
    with pytest.raises(Invalid, match="batch of 0"):
        asked.serving.predict("value", ROWS, batch=0)
    assert asked.serving.predict("value", ROWS.head(0)).height == 0
