"""A world made of one frame of events: rows with a time, a label, and a function that trains on the rows before an instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from rung.core.errors import Invalid
from rung.value.rules import Floats

Score = Callable[[pl.DataFrame], Any]
Train = Callable[[pl.DataFrame], Any]


class FrameWorld:
    """History as a frame, cut into calendar periods.

    Args:
        frame: the events; needs the time and label columns.
        train: is given the rows before an instant, and returns a fitted estimator or a function from rows to scores.
        time_column: when each event happened.
        label: column of the truth: 0 or 1, or a value.
        inputs: columns compared for drift and given to the model; default all but time and label.
        every: length of a period in Polars' words: ``1mo``, ``1w``.
        first: number of the first served period; the first model learns from those before it.
        delay: periods until labels are known.
        causes: what the diagnoses said, by period; others are ``unknown``, which counts as curable.
    """

    def __init__(
        self,
        frame: pl.DataFrame,
        train: Train,
        *,
        time_column: str,
        label: str,
        inputs: list[str] | None = None,
        every: str = "1mo",
        first: int = 2,
        delay: int = 0,
        causes: Mapping[str, str] | None = None,
    ) -> None:
        missing = [name for name in (time_column, label, *(inputs or [])) if name not in frame.columns]
        if missing:
            raise Invalid(
                f"The history lacks {', '.join(missing)}.", code="value.history_columns", hint=f"It has {', '.join(frame.columns)}."
            )
        self.inputs = inputs or [name for name in frame.columns if name not in {time_column, label}]
        form = "%Y-%m" if "mo" in every else "%Y-%m-%d"
        kept = frame.sort(time_column).with_columns(period_=pl.col(time_column).dt.truncate(every).dt.strftime(form))
        self.periods: list[str] = kept["period_"].unique(maintain_order=True).to_list()
        if not 0 < first < len(self.periods):
            raise Invalid(
                f"The history has {len(self.periods)} periods, so period {first} cannot be the first served.",
                code="value.short_history",
                hint="Give more history, shorter periods, or another first.",
            )
        self.first, self.delay, self._train, self._label = first, delay, train, label
        starts = kept.with_row_index("row_").group_by("period_", maintain_order=True).agg(pl.col("row_").min())["row_"].to_list()
        self._starts = [*starts, kept.height]
        self._frame = kept.drop("period_")
        self._causes = dict(causes or {})

    def rows(self, period: int) -> pl.DataFrame:
        """Events of a period."""
        return self._frame.slice(self._starts[period], self._starts[period + 1] - self._starts[period])

    def train(self, upto: int) -> Score:
        """A scoring function trained on the rows before a period, faults left out."""
        usable = [self.rows(period) for period in range(upto) if self.cause(period) != "data_break"]
        return _scoring(self._train(pl.concat(usable)), self.inputs)

    def scores(self, model: Score, period: int) -> Floats:
        """Scores of a period's rows."""
        return np.asarray(model(self.rows(period)), dtype=np.float64)

    def labels(self, period: int) -> Floats:
        """Labels of a period's rows, as numbers."""
        return self.rows(period)[self._label].cast(pl.Float64).to_numpy()

    def drift(self, upto: int, period: int) -> float:
        """The greatest distance of any input: Kolmogorov-Smirnov for numbers, total variation for categories."""
        before, now = self._frame.slice(0, self._starts[upto]), self.rows(period)
        return max((_distance(before[name], now[name]) for name in self.inputs), default=0.0)

    def cause(self, period: int) -> str:
        """What was diagnosed in a period."""
        return self._causes.get(self.periods[period], "unknown")


def _scoring(trained: Any, inputs: list[str]) -> Score:
    if hasattr(trained, "predict_proba"):
        return lambda rows: trained.predict_proba(rows.select(inputs))[:, 1]
    if hasattr(trained, "predict"):
        return lambda rows: trained.predict(rows.select(inputs))
    if callable(trained):
        return trained  # type: ignore[no-any-return]  # whatever the caller's function gives
    raise Invalid(
        f"Training gave a {type(trained).__name__}, which scores nothing.", code="value.no_scores", hint="Return a fitted estimator."
    )


def _distance(before: pl.Series, now: pl.Series) -> float:
    before, now = before.drop_nulls(), now.drop_nulls()
    if before.is_empty() or now.is_empty():
        return 0.0
    if before.dtype.is_numeric():
        edges = np.unique(np.quantile(before.to_numpy(), np.linspace(0, 1, 101)))
        left = np.searchsorted(np.sort(before.to_numpy()), edges, side="right") / before.len()
        right = np.searchsorted(np.sort(now.to_numpy()), edges, side="right") / now.len()
        return float(np.abs(left - right).max())
    old, new = (dict(series.cast(pl.String).value_counts(normalize=True).iter_rows()) for series in (before, now))
    return float(sum(abs(old.get(key, 0.0) - new.get(key, 0.0)) for key in old.keys() | new.keys()) / 2)
