"""Too few of the labels have come to say anything about performance."""

from __future__ import annotations

from rung.monitoring.evidence import DIAGNOSES, Evidence
from rung.monitoring.records import Fact, Finding
from rung.monitoring.rules import MATURE_SHARE


@DIAGNOSES.member("immature_labels")
def immature_labels(evidence: Evidence) -> Finding | None:
    """Under half of the rows under suspicion have a label."""
    rows = len(evidence.current)
    share = len(evidence.labelled) / rows if rows else 0.0
    if share >= MATURE_SHARE:
        return None
    return Finding(
        cause="immature_labels",
        strength=1 - share,
        summary=f"Only {share:.0%} of {rows} predictions have a label, too few to judge the model.",
        facts=(Fact(statement="Share of predictions with a label.", value=share, line=MATURE_SHARE),),
        remedy="Wait for the labels, then diagnose again.",
    )
