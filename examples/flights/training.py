"""Training alone: from the raw tables to a judged model, by steps that compute from their inputs and ask no platform.

Such a pipeline runs anywhere: here with `rung run learn`, and exported by other engines.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from features import TEXT
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from world import WEATHER, load_world

import rung
from rung import pipeline, step

NUMBERS = ("distance", "minute_of_day", "weekday", "plane_age", "seats", *WEATHER)
HELD_OUT_DAYS = 7


@step
def observed(first: str, days: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Flights of some days with the weather known at departure and the truth: older ones to learn from, the newest to judge on."""
    world = load_world()
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    end = start + timedelta(days=days)
    weather = world.weather.sort("known")
    rows = (
        world.departures(start, end)
        .join(world.flights.select("flight_id", "late"), on="flight_id")
        .filter(pl.col("late").is_not_null())
        .sort("departs")
        .join_asof(weather, left_on="departs", right_on="known", by="origin", tolerance="6h", check_sortedness=False)
        .sort("departs", "flight_id")
        .select("flight_id", "departs", *TEXT, *NUMBERS, "late")
    )
    cut = end - timedelta(days=HELD_OUT_DAYS)
    return rows.filter(pl.col("departs") < cut), rows.filter(pl.col("departs") >= cut)


@step(cpus=1)
def fitted(learn: pl.DataFrame, max_iter: int = 40) -> Pipeline:
    """A gradient-boosted classifier on text codes and numbers."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan"), encoded_missing_value=float("nan"))
    columns = ColumnTransformer([("text", codes, list(TEXT)), ("number", "passthrough", list(NUMBERS))])
    booster = HistGradientBoostingClassifier(max_iter=max_iter, random_state=0, early_stopping=False)
    model = Pipeline([("columns", columns), ("booster", booster)])
    return model.fit(learn.select(*TEXT, *NUMBERS), learn["late"].to_numpy())


@step
def judged(model: Pipeline, held: pl.DataFrame) -> dict[str, Any]:
    """How well it tells late flights among those it has not seen."""
    truth, score = held["late"].to_numpy(), model.predict_proba(held.select(*TEXT, *NUMBERS))[:, 1]
    found = {
        "roc_auc": float(roc_auc_score(truth, score)),
        "log_loss": float(log_loss(truth, score)),
        "brier": float(brier_score_loss(truth, score)),
    }
    rung.log_metrics(found)
    return found


@pipeline
def learn(first: str = "2013-01-01", days: int = 28, max_iter: int = 40) -> dict[str, Any]:
    """Learn from some days of flights, judge on the last week of them."""
    older, newest = observed(first, days)
    return judged(fitted(older, max_iter), newest)
