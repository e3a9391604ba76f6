"""Scored rows: label, score and slices of each row of an evaluation; kept as Parquet, so that versions are compared row by row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from rung.core.errors import Invalid
from rung.core.references import Task
from rung.evaluation.bootstrap import Difference, paired_difference, wilson
from rung.evaluation.metric import Floats, all_scores, metric_for
from rung.evaluation.records import Interval, SliceBy, SliceScores

MIN_SLICE_ROWS = 30
_MOST_VALUES = 20
_SLICE = "slice:"


@dataclass(frozen=True)
class ScoredRows:
    """Labels, scores and for each slicing column the name of the slice each row is in."""

    labels: Floats
    scores: Floats
    slices: pl.DataFrame

    def to_parquet(self) -> bytes:
        """As Parquet bytes."""
        columns = {"label": self.labels}
        matrix = self.scores if self.scores.ndim > 1 else self.scores[:, None]
        columns |= {f"score_{number}": matrix[:, number] for number in range(matrix.shape[1])}
        frame = pl.DataFrame(columns).hstack(self.slices.rename({name: _SLICE + name for name in self.slices.columns}))
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd")
        return buffer.getvalue()

    def members(self) -> list[tuple[str, str, np.ndarray]]:
        """Column, name and row mask of every slice with rows enough to be judged."""
        found = []
        for column in self.slices.columns:
            names = self.slices[column]
            for name in sorted(names.drop_nulls().unique().to_list()):
                mask = (names == name).fill_null(value=False).to_numpy()
                if mask.sum() >= MIN_SLICE_ROWS:
                    found.append((column, name, mask))
        return found

    def where(self, slice_name: str) -> np.ndarray:
        """Row mask of one slice; of all rows for the empty name. Raises Invalid, listing the slices."""
        if not slice_name:
            return np.ones(len(self.labels), dtype=bool)
        for _, name, mask in self.members():
            if name == slice_name:
                return mask
        known = ", ".join(name for _, name, _ in self.members()) or "none"
        raise Invalid(f"The evaluation has no slice {slice_name!r}.", code="evaluation.no_slice", hint=f"It has: {known}.")


def from_parquet(data: bytes) -> ScoredRows:
    """Scored rows as ``to_parquet`` wrote them."""
    frame = pl.read_parquet(io.BytesIO(data))
    names = [name for name in frame.columns if name.startswith("score_")]
    scores = frame.select(names).to_numpy().astype(np.float64)
    slices = frame.select(pl.col(f"^{_SLICE}.*$")).rename(lambda name: name.removeprefix(_SLICE))
    return ScoredRows(frame["label"].to_numpy().astype(np.float64), scores[:, 0] if len(names) == 1 else scores, slices)


def cut(frame: pl.DataFrame, by: Sequence[SliceBy]) -> pl.DataFrame:
    """The slice name of every row, one column for each slicing column. Raises Invalid for a column that is not there."""
    named = {}
    for item in by:
        if item.column not in frame.columns:
            raise Invalid(
                f"Slices need column {item.column!r}, which the rows do not have.",
                code="evaluation.no_slice_column",
                hint=f"Choose one of {', '.join(frame.columns)}.",
            )
        named[item.column] = _bands(frame[item.column], item.bands) if item.bands else _values(frame[item.column])
    return pl.DataFrame(named)


def compare(
    task: Task,
    metric: str,
    candidate: ScoredRows,
    champion: ScoredRows,
    mask: np.ndarray,
    *,
    thresholds: tuple[float, float],
    resamples: int,
    confidence: float,
    seed: int,
) -> Difference:
    """The paired difference on the rows of a mask. Raises Invalid when the two were not scored on the same rows."""
    if len(candidate.labels) != len(champion.labels) or not np.array_equal(candidate.labels, champion.labels):
        raise Invalid(
            "The two evaluations do not hold the same rows.",
            code="evaluation.other_rows",
            hint="Evaluate both versions on the same dataset version.",
        )
    return paired_difference(
        metric_for(metric, task), candidate.labels[mask], candidate.scores[mask], champion.scores[mask],
        thresholds=thresholds, resamples=resamples, confidence=confidence, seed=seed,
    )  # fmt: skip


def slice_scores(task: Task, rows: ScoredRows, threshold: float) -> tuple[SliceScores, ...]:
    """Scores of every slice with rows enough."""
    return tuple(
        SliceScores(
            slice=name, column=column, rows=int(mask.sum()), positive_share=positive_share(task, rows.labels[mask]),
            scores=(scores := all_scores(task, rows.labels[mask], rows.scores[mask], threshold)),
            intervals=share_intervals(scores, int(mask.sum())),
        )
        for column, name, mask in rows.members()
    )  # fmt: skip


def share_intervals(scores: dict[str, float], rows: int, confidence: float = 0.95) -> dict[str, Interval]:
    """Wilson's interval of the scores that are shares of all rows."""
    if "accuracy" not in scores:
        return {}
    low, high = wilson(scores["accuracy"] * rows, rows, confidence)
    return {"accuracy": Interval(low=low, high=high, confidence=confidence)}


def positive_share(task: Task, labels: Floats) -> float | None:
    """Share of positive rows of a binary task."""
    return float(labels.mean()) if task == "binary" and len(labels) else None


def _values(column: pl.Series) -> pl.Series:
    text = column.cast(pl.String)
    counts = text.value_counts(sort=True)[column.name].to_list()[:_MOST_VALUES]
    named = pl.lit(f"{column.name}=") + pl.col(column.name).fill_null("null")
    kept = pl.col(column.name).is_in([c for c in counts if c is not None]) | pl.col(column.name).is_null()
    return text.to_frame().select(pl.when(kept).then(named).otherwise(None).alias(column.name)).to_series()


def _bands(column: pl.Series, bands: int | None) -> pl.Series:
    if not column.dtype.is_numeric():
        raise Invalid(
            f"Column {column.name!r} is {column.dtype}, not a number to cut in bands.", code="evaluation.no_bands", hint="Leave bands out."
        )
    numbers = column.cast(pl.Float64).to_numpy()
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return pl.Series(column.name, [f"{column.name}=null"] * len(column), dtype=pl.String)
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, (bands or 2) + 1)))
    inner = edges[1:-1]
    names = [f"{column.name} < {inner[0]:.6g}" if len(inner) else f"{column.name} >= {edges[0]:.6g}"]
    names += [f"{column.name} in [{low:.6g}, {high:.6g})" for low, high in pairwise(inner)]
    names += [f"{column.name} >= {inner[-1]:.6g}"] if len(inner) else []
    which = np.searchsorted(inner, numbers, side="right")
    return pl.Series(column.name, [names[w] if np.isfinite(v) else f"{column.name}=null" for w, v in zip(which, numbers, strict=True)])
