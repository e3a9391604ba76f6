"""A small world for monitors: hourly readings with a season, a served score, labels; faults are planted into it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from rung.monitoring.columns import Reference, column_reference
from rung.stats.shift import sigmoid

START = datetime(2025, 1, 1, tzinfo=UTC)
INPUTS = ("temp", "wind", "sky")


def rows(days: int, *, first: int = 0, per_hour: int = 8, seed: int = 0, slope: float = 0.15, shift: float = 0.0) -> pl.DataFrame:
    """Rows with event_time, inputs, label, score; P(label) follows ``slope`` of temp and ``shift``, the score knows 0.15 and 0."""
    generator = np.random.default_rng(seed)
    n = days * 24 * per_hour
    hours = first * 24 + np.arange(n) / per_hour
    temp = (
        50
        + 15 * np.sin(2 * np.pi * hours / 24 / 365)
        + 6 * np.sin(2 * np.pi * hours / 24)
        + np.repeat(generator.normal(0, 2, days), 24 * per_hour)
    )
    temp = np.round(temp + generator.normal(0, 1, n), 1)
    wind = np.round(np.abs(generator.normal(8, 4, n)))
    sky = generator.choice(["clear", "cloud", "rain"], size=n, p=[0.5, 0.3, 0.2])
    usual = 50 + 15 * np.sin(2 * np.pi * hours / 24 / 365)
    label = (generator.random(n) < sigmoid(slope * (temp - usual) - 1 + shift)).astype(float)
    score = sigmoid(0.15 * (temp - usual) - 1)
    times = [START + timedelta(hours=float(hour)) for hour in hours]
    frame = pl.DataFrame({"event_time": times, "temp": temp, "wind": wind, "sky": sky, "label": label, "score": score})
    return frame.with_columns(pl.col("event_time").dt.cast_time_unit("us"))


def reference(frame: pl.DataFrame) -> Reference:
    """A reference of a frame's inputs."""
    columns = {name: column_reference(name, frame[name], blocks=max(0, len(frame) // (7 * 24 * 8))) for name in INPUTS}
    kept = frame.select("event_time", *INPUTS, "label")
    return Reference("train:1", len(frame), columns, frame=kept, time_column="event_time", label="label")
