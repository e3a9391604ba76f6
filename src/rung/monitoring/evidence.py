"""The bundle that every diagnosis is given, and the family of diagnoses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl

from rung.core.families import Family
from rung.monitoring.columns import Reference
from rung.monitoring.records import Finding, Incident, Monitor, Performance, QualityFault, RetrainingGain, WindowReport
from rung.stats.samples import Floats
from rung.stats.shift import ConceptChange, DomainChange, PriorChange, concept_change, domain_change, prior_change

_FEWEST_LABELS = 200


@dataclass(frozen=True)
class Replay:
    """Scores of a sample of logged rows, as logged and as the registered model gives them now."""

    logged: Floats
    again: Floats


@dataclass
class Evidence:
    """What is known about an incident at ``as_of``.

    ``current`` holds the rows under suspicion: whole windows up to the incident's end, with score, label (null where
    unknown) and inputs, without windows whose input was broken. ``windows`` are the stored reports of the incident's span.
    """

    incident: Incident
    monitor: Monitor
    reference: Reference
    windows: tuple[WindowReport, ...]
    current: pl.DataFrame
    as_of: datetime
    threshold: float = 0.5
    binary: bool = True
    performance: Performance | None = None
    replay: Replay | None = None

    @property
    def columns(self) -> list[str]:
        """Input columns that reference and current rows share."""
        return [name for name in self.reference.columns if name in self.current.columns and name in self.reference.frame.columns]

    @property
    def faults(self) -> tuple[tuple[WindowReport, QualityFault], ...]:
        """Faults of the incident's windows. An incident about something else sees only those of its newest window."""
        if self.incident.rule == "quality":
            held = set(self.incident.columns)
            return tuple((w, f) for w in self.windows for f in w.quality if f.column in held)
        newest = self.windows[-1:]
        return tuple((w, f) for w in newest for f in w.quality)

    @cached_property
    def labelled(self) -> pl.DataFrame:
        """Current rows with a label and a score."""
        return self.current.filter(pl.col("label").is_not_null() & pl.col("score").is_finite())

    @cached_property
    def concept(self) -> ConceptChange | None:
        """Change of P(y | x), measured on days held out; None for other tasks or too few labels."""
        if not self.binary or len(self.labelled) < _FEWEST_LABELS or not self.columns:
            return None
        rows = self.labelled
        return concept_change(self.matrix(rows), _floats(rows, "label"), _floats(rows, "score"), days(rows), threshold=self.threshold)

    @cached_property
    def prior(self) -> PriorChange | None:
        """Change of the base rate against the scores."""
        if not self.binary or len(self.labelled) < _FEWEST_LABELS:
            return None
        return prior_change(_floats(self.labelled, "label"), _floats(self.labelled, "score"), days(self.labelled))

    @cached_property
    def domain(self) -> DomainChange | None:
        """Change of P(x) against the reference."""
        return domain_change(self.matrix(self.reference.frame), self.matrix(self.current)) if self.columns else None

    def matrix(self, frame: pl.DataFrame) -> Floats:
        """The shared columns as numbers: categories by their place in the reference, NaN where null."""
        return matrix(self.reference, self.columns, frame)


def matrix(reference: Reference, columns: list[str], frame: pl.DataFrame) -> Floats:
    """Columns as numbers: categories by their place in the reference (-1 for values it lacks), NaN where null."""
    return np.column_stack([_numbers(reference.frame[name], frame[name]) for name in columns])


def _numbers(known: pl.Series, series: pl.Series) -> Floats:
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    places = {value: place for place, value in enumerate(known.cast(pl.String).drop_nulls().unique().sort().to_list())}
    found = series.cast(pl.String).replace_strict(places, default=-1, return_dtype=pl.Float64)
    return found.set(series.is_null(), None).fill_null(float("nan")).to_numpy()


def gain_of(found: ConceptChange | None) -> RetrainingGain | None:
    """What recent labels could add, as a record."""
    if found is None:
        return None
    return RetrainingGain(
        rows=found.rows, days=found.days, gain=found.gain, low=found.gain_low, high=found.gain_high, t=found.t,
        auc_served=found.auc_served, auc_corrected=found.auc_corrected, served=found.served, corrected=found.corrected,
    )  # fmt: skip


def days(frame: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The day of each row, counted from 1970."""
    return (frame["event_time"].dt.epoch("us") // 86_400_000_000).to_numpy().astype(np.int64)


def _floats(frame: pl.DataFrame, column: str) -> Floats:
    return frame[column].to_numpy().astype(np.float64)


DiagnosisTest = Callable[[Evidence], Finding | None]
DIAGNOSES: Family[DiagnosisTest] = Family("diagnoses", "rung.monitoring.diagnoses")
