"""Training knew the future: one column told the label then, and no longer does in serving."""

from __future__ import annotations

import numpy as np
import polars as pl

from rung.monitoring.evidence import DIAGNOSES, Evidence
from rung.monitoring.records import Fact, Finding
from rung.stats.outcomes import Estimate, auc
from rung.stats.samples import Floats

_TOLD = 0.75
_COLLAPSE = 0.2
_Z = 5.0
_FEWEST = 200


@DIAGNOSES.member("leakage")
def leakage(evidence: Evidence) -> Finding | None:
    """A single column whose AUC falls from 0.75 or more by over 0.2, and by five standard errors."""
    label, rows = evidence.reference.label, evidence.labelled
    if not evidence.binary or label is None or len(rows) < _FEWEST:
        return None
    trained = evidence.reference.frame.filter(pl.col(label).is_not_null())
    before_label = trained[label].cast(pl.Float64, strict=False).to_numpy()
    if not set(np.unique(before_label)) <= {0.0, 1.0}:
        return None
    facts = []
    before, now = evidence.matrix(trained), evidence.matrix(rows)
    for place, column in enumerate(evidence.columns):
        then, later = _told(before_label, before[:, place]), _told(rows["label"].to_numpy().astype(np.float64), now[:, place])
        if then is None or later is None or then.value < _TOLD:
            continue
        error = float(np.hypot(then.error, later.error))
        fall = then.value - later.value
        if fall > _COLLAPSE and fall > _Z * error:
            facts.append(
                Fact(
                    statement=f"{column} alone had an AUC of {then.value:.3f} in training, {later.value:.3f} in serving.",
                    value=fall,
                    line=_COLLAPSE,
                    column=column,
                )
            )
    if not facts:
        return None
    worst = max(facts, key=lambda fact: fact.value or 0.0)
    return Finding(
        cause="leakage",
        strength=min(1.0, 2 * (worst.value or 0.0)),
        summary=f"Training knew what serving cannot know: {worst.statement}",
        facts=tuple(facts),
        columns=tuple(fact.column for fact in facts if fact.column),
        remedy="Repair the join that brings the column, or leave it out, then train again.",
    )


def _told(labels: Floats, values: Floats) -> Estimate | None:
    """AUC of a column by itself, whichever way it points."""
    known = np.isfinite(values)
    found = auc(labels[known], values[known])
    return found and Estimate(max(found.value, 1 - found.value), found.error)
