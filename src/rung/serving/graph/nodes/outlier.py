"""How far a row as a whole lies from the training rows: the Mahalanobis distance, over the distance that few of them exceed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from msgspec import Meta

from rung.core.errors import Invalid
from rung.core.records import Name, Number, Record, replaced
from rung.serving.graph.family import GRAPH_NODES, Building, Plain, Surroundings
from rung.serving.graph.flow import Flow, Shape, is_number
from rung.serving.graph.nodes.quality import norm
from rung.serving.graph.running import Run
from rung.serving.inference import Floats

if TYPE_CHECKING:
    import polars as pl

OUTLIER, SCORE = "outlier", "outlier_score"
_MOST_ROWS, _FEWEST_ROWS, _MOST_COLUMNS = 20_000, 20, 100
_SHRINK = 0.05


class Fitted(Record):
    """Means, deviations, the whitening matrix of the standardised columns (row by row), and the squared distance taken as 1."""

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...]
    limit: float


class OutlierSettings(Record):
    """``share`` of the training rows may lie beyond the limit; ``answer`` shows the score; ``fitted`` is filled in when the graph is set."""

    dataset: Name | None = None
    number: Number | None = None
    only: tuple[str, ...] = ()
    share: Annotated[float, Meta(gt=0, lt=0.5)] = 0.001
    answer: bool = False
    fitted: Fitted | None = None


@dataclass(frozen=True, slots=True)
class Outlier:
    """Adds ``outlier_score``; above 1 a row is flagged."""

    source: str
    columns: tuple[str, ...]
    mean: Floats
    deviation: Floats
    whitening: Floats
    limit: float
    answer: bool
    shape: Shape

    def work(self, run: Run) -> Flow:
        """The rows with their distance; a missing value counts as usual."""
        flow = run.value(self.source)
        rows = np.stack([np.asarray(flow.column(name), dtype=np.float64) for name in self.columns], axis=1)
        score = distances(rows, self.mean, self.deviation, self.whitening) / self.limit
        if (score > 1).any():
            run.flag(OUTLIER, score > 1)
        shown = {**flow.outputs, SCORE: score} if self.answer else flow.outputs
        return flow.having(added={**flow.added, SCORE: score}, outputs=shown)


@GRAPH_NODES.member("outlier")
class OutlierKind(Plain):
    """A multivariate outlier score: ``share = 0.001``."""

    settings = OutlierSettings

    @staticmethod
    def frozen(settings: OutlierSettings, around: Surroundings) -> OutlierSettings:
        """The settings with means and covariance of the training rows."""
        if settings.fitted is not None:
            return settings
        dataset, number = norm(settings.dataset, settings.number, around)
        inputs = [field.name for field in around.own.signature.inputs if is_number(field.dtype)]
        columns = settings.only or tuple(inputs)
        if len(columns) > _MOST_COLUMNS:
            raise Invalid(
                f"{len(columns)} columns are too many for one distance.",
                code="graph.too_wide",
                hint=f"Name at most {_MOST_COLUMNS} in `only`.",
            )
        return replaced(
            settings, dataset=dataset, number=number, fitted=fitted(around.rows(dataset, number, columns, _MOST_ROWS), settings.share)
        )

    @staticmethod
    def made(settings: OutlierSettings, building: Building) -> Outlier:
        """The node, if the rows have the columns it was fitted on."""
        held = OutlierKind.frozen(settings, building.around).fitted
        assert held is not None  # noqa: S101 - that is what freezing does
        source, kinds = building.only_one(), building.shape.kinds
        wrong = [name for name in held.columns if kinds.get(name) not in {"number", "truth"}]
        if wrong:
            raise building.wrong(f"it measures {wrong[0]!r}, which is no number here", "Name the columns to measure in `only`.")
        shape = replace(building.shape, kinds={**kinds, SCORE: "number"})
        if settings.answer:
            shape = replace(shape, outputs={**shape.outputs, SCORE: "number"})
        numbers = (np.array(held.mean), np.array(held.deviation), np.array(held.whitening))
        return Outlier(source, held.columns, *numbers, held.limit, settings.answer, shape)


def distances(rows: Floats, mean: Floats, deviation: Floats, whitening: Floats) -> Floats:
    """Squared Mahalanobis distances, shape (n,), of rows of shape (n, d); NaN counts as the mean."""
    standard = np.nan_to_num((rows - mean) / deviation, nan=0.0, posinf=1e6, neginf=-1e6)
    return np.asarray(((standard @ whitening) ** 2).sum(axis=1), dtype=np.float64)


def fitted(frame: pl.DataFrame, share: float) -> Fitted:
    """What rows have in common: the correlation is drawn a little towards none, so that it can always be inverted. Raises Invalid.

    Source: Mahalanobis 1936 for the distance; shrinkage by a fixed share, as in ridge estimates of a covariance.
    """
    import polars as pl  # noqa: PLC0415 - only when a graph is set

    numeric = [name for name, kind in frame.schema.items() if kind.is_numeric() or kind == pl.Boolean]
    rows = np.asarray(frame.select(pl.col(numeric).cast(pl.Float64)).to_numpy(), dtype=np.float64)
    rows = np.where(np.isfinite(rows), rows, np.nan)
    if rows.shape[0] < _FEWEST_ROWS or not numeric:
        raise Invalid(
            f"{rows.shape[0]} rows of {len(numeric)} numbers do not say what is usual.", code="graph.too_few_rows",
            hint=f"Name a dataset of {_FEWEST_ROWS} rows or more, with the columns of the model.",
        )  # fmt: skip
    kept = np.flatnonzero(np.isfinite(rows).sum(axis=0) > 1)
    rows, numeric = rows[:, kept], [numeric[place] for place in kept]
    mean, deviation = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
    deviation = np.where(deviation > 0, deviation, np.maximum(np.abs(mean), 1.0) * 1e-3)
    standard = np.nan_to_num((rows - mean) / deviation, nan=0.0)
    correlation = (1 - _SHRINK) * (standard.T @ standard) / len(rows) + _SHRINK * np.eye(len(numeric))
    values, vectors = np.linalg.eigh(correlation)
    whitening = vectors / np.sqrt(values)
    found = distances(rows, mean, deviation, whitening)
    limit = max(float(np.quantile(found, 1 - share)), 1e-9)
    return Fitted(
        columns=tuple(numeric), mean=tuple(mean.tolist()), deviation=tuple(deviation.tolist()),
        whitening=tuple(tuple(row) for row in whitening.tolist()), limit=limit,
    )  # fmt: skip
