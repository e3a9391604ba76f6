"""The same inputs lead to other outcomes than before: P(y | x) changed."""

from __future__ import annotations

from rung.monitoring.evidence import DIAGNOSES, Evidence
from rung.monitoring.records import Fact, Finding
from rung.monitoring.rules import CONCEPT_LINE as LINE


@DIAGNOSES.member("concept_drift")
def concept_drift(evidence: Evidence) -> Finding | None:
    """A correction learnt from recent labels beats the served scores on days it has not seen."""
    found = evidence.concept
    if found is None or found.t <= LINE:
        return None
    drivers = tuple(evidence.columns[place] for place in found.drivers)
    since = evidence.windows[0].start if evidence.windows else None
    facts = (
        Fact(statement=f"t of the log-loss gain over {found.days} days, after an intercept correction.", value=found.t, line=LINE),
        Fact(
            statement=f"Log loss saved per row on days held out ({found.gain_low:.4f} to {found.gain_high:.4f}).",
            value=found.gain,
            line=0.0,
        ),
        Fact(statement="AUC of the served scores on the same rows.", value=found.auc_served),
        Fact(statement="AUC once corrected.", value=found.auc_corrected, line=found.auc_served),
    )
    return Finding(
        cause="concept_drift",
        strength=min(1.0, found.t / (found.t + LINE)),
        summary=(
            f"The same inputs lead to other outcomes: a correction learnt from recent labels lifts AUC from {found.auc_served:.3f} to "
            f"{found.auc_corrected:.3f} on days held out, most through {', '.join(drivers[:3])}."
        ),
        facts=facts,
        columns=drivers,
        since=since,
        curable=True,
        remedy="Train again with the recent rows.",
    )
