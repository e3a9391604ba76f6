"""A deployment with versions that are alike, worse or broken, and callers who bring the truth later."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from rung.app.local import LocalTransport
from rung.client.client import Client
from rung.engine.loop import Engine
from rung.monitoring.records import AddLabels

NAME = "api"
START = datetime(2025, 3, 1, tzinfo=UTC)
INPUTS = 3


@dataclass
class Release:
    """A client, the engine beside it, and the rows that callers ask about."""

    client: Client
    engine: Engine
    transport: LocalTransport
    chance: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    asked: int = 0
    at: datetime = START

    def ask(self, rows: int, *, labelled: bool = False, batch: int = 25) -> pl.DataFrame:
        """Predictions for new rows, one event second apart; with their labels told at once where wanted."""
        frame, late = truth(self.chance, rows)
        ids = [f"row-{self.asked + i}" for i in range(rows)]
        times = [self.at + timedelta(seconds=i + 1) for i in range(rows)]
        self.asked, self.at = self.asked + rows, times[-1]
        found = self.client.serving.predict(NAME, frame, event_times=times, ids=ids, batch=batch)
        if labelled:
            self.tell(ids, late)
        return found.with_columns(label=pl.Series(late))

    def tell(self, ids: list[str], labels: np.ndarray) -> None:
        """Bring labels."""
        buffer = io.BytesIO()
        pl.DataFrame({"prediction_id": ids, "label": labels.astype(float)}).write_parquet(buffer)
        self.transport.call(AddLabels(deployment=NAME, blob=self.transport.put_blob(buffer.getvalue())))

    def settle(self) -> None:
        """Let the engine deliver, look and act until nothing is left to do."""
        self.engine.run_until_idle(90)

    def look(self) -> None:
        """Let the engine look now, however short ago it did."""
        self.engine._chores.rollouts._at = 0.0
        self.engine._chores.rollouts._next.clear()
        self.settle()


def truth(chance: np.random.Generator, rows: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Rows and their labels: P(1) is a logistic function of the first two inputs."""
    x = chance.normal(size=(rows, INPUTS))
    p = 1 / (1 + np.exp(-2 * x[:, 0] + 1.5 * x[:, 1]))
    return pl.DataFrame({f"x{i}": x[:, i] for i in range(INPUTS)}), (chance.random(rows) < p).astype(int)


def model_of(rows: pl.DataFrame, labels: np.ndarray) -> LogisticRegression:
    """A model that has learned the labels."""
    return LogisticRegression().fit(rows.to_numpy(), labels)


def released(transport: LocalTransport) -> Release:
    """Version 1 serves; 2 is as good; 3 has learned the opposite."""
    client = Client(transport)
    frame, late = truth(np.random.default_rng(1), 3000)
    other, other_late = truth(np.random.default_rng(2), 3000)
    for rows, labels in ((frame, late), (other, other_late), (frame, 1 - late)):
        client.registry.register("late", model_of(rows, labels), example=rows, label="late")
    client.serving.deploy(NAME, "late", 1, environment="staging")
    return Release(client, Engine(transport.platform), transport)
