"""Training: gather what had happened by an instant, check it, fit, register, put the version before its gates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

import polars as pl
from features import INPUTS, TEXT
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

import rung
from rung import pipeline, step

MODEL = "late-flights"
HELD_OUT_DAYS = 14
MAX_ROWS = 120_000


@step(cache=False)
def gather(as_of: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Features and truth of flights that had landed by ``as_of``: older ones to learn from, the newest to be judged on."""
    client = rung.connect()
    until = datetime.fromisoformat(as_of).astimezone(UTC)
    rows = known_rows(client, until).select("flight_id", "departs", *INPUTS, "late")
    cut = until - timedelta(days=HELD_OUT_DAYS)
    return rows.filter(pl.col("departs") < cut), rows.filter(pl.col("departs") >= cut)


def known_rows(client: Any, until: datetime) -> pl.DataFrame:
    """Every flight with features, met by its label if it had landed by then; data of faulty validations stays out."""
    tables, truth = [], []
    for summary in reversed(client.data.versions("features").items):
        if summary.validation != "failed":
            tables.append(client.data.frame("features", summary.number))
    for summary in client.data.versions("arrivals").items:
        truth.append(client.data.frame("arrivals", summary.number, columns=["flight_id", "arrived", "late"]))
    landed = pl.concat(truth).filter(pl.col("arrived") < until).select("flight_id", "late")
    # a flight whose features were delivered anew counts with the newest
    newest = pl.concat(tables).filter(pl.col("departs") < until).unique("flight_id", keep="last", maintain_order=True)
    return newest.join(landed, on="flight_id").sort("departs", "flight_id")


@step
def fit(learn: pl.DataFrame, max_iter: int = 100) -> Pipeline:
    """A gradient-boosted classifier; texts become ordinal codes, unknown ones and gaps stay missing."""
    rows = learn.tail(MAX_ROWS)
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan"), encoded_missing_value=float("nan"))
    numbers = [name for name in INPUTS if name not in TEXT]
    columns = ColumnTransformer([("text", codes, list(TEXT)), ("number", "passthrough", numbers)])
    booster = HistGradientBoostingClassifier(max_iter=max_iter, max_leaf_nodes=31, random_state=0, early_stopping=False)
    model = Pipeline([("columns", columns), ("booster", booster)])
    return model.fit(rows.select(INPUTS), rows["late"].to_numpy())


@step(cache=False)
def register(model: Pipeline, learn: pl.DataFrame, judge: pl.DataFrame, as_of: str) -> int:
    """The model as the next version, with the rows it learnt from and those it is judged on as dataset versions."""
    client = rung.connect()
    train = client.data.add("training-set", learn, time_column="departs", note=f"as of {as_of}", derived_from=parents(client))
    test = client.data.add("test-set", judge, time_column="departs", note=f"as of {as_of}", derived_from=parents(client))
    version = rung.register_model(
        MODEL,
        model,
        example=learn.select(INPUTS).tail(500),
        label="late",
        threshold=0.3,
        datasets=[("train", "training-set", train.number), ("test", "test-set", test.number)],
        description=f"Trained on {learn.height} flights that had landed by {as_of}.",
    )
    rung.log_params({"rows": learn.height, "as_of": as_of})
    return version.number


def parents(client: Any) -> list[Any]:
    """The dataset versions a training set is made from."""
    return [client.data.get(name, v.number).ref for name in ("features", "arrivals") for v in client.data.versions(name).items]


@step(cache=False)
def gate(number: int) -> bool:
    """Put the version before the model's gates, on its own held-out rows."""
    client = rung.connect()
    test = next(use for use in client.registry.version(MODEL, number).datasets if use.role == "test")
    verdict = client.registry.check_gate(MODEL, number, dataset=test.dataset, dataset_number=test.number)
    for reason in verdict.reasons:
        print(reason)
    evaluation = client.transport.call(_evaluation(verdict.evaluation))
    rung.log_metrics({name: value for name, value in evaluation.scores.items() if isfinite(value)})
    return verdict.passed


def _evaluation(identity: str) -> Any:
    from rung.evaluation.records import GetEvaluation

    return GetEvaluation(id=identity)


@pipeline
def train(as_of: str, max_iter: int = 100) -> bool:
    """Train a version on everything known by ``as_of``, an instant in ISO 8601."""
    learn, judge = gather(as_of)
    model = fit(learn, max_iter=max_iter)
    return gate(register(model, learn, judge, as_of))
