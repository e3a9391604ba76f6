"""Only the base rate changed: scores rank as before and are all too high or too low."""

from __future__ import annotations

from rung.monitoring.evidence import DIAGNOSES, Evidence
from rung.monitoring.records import Fact, Finding
from rung.monitoring.rules import CONCEPT_LINE

_LINE = 4.0


@DIAGNOSES.member("prior_shift")
def prior_shift(evidence: Evidence) -> Finding | None:
    """The intercept is off by four standard errors between days, and no change of P(y | x) is left."""
    found, concept = evidence.prior, evidence.concept
    if found is None or abs(found.z) <= _LINE or (concept is not None and concept.t > CONCEPT_LINE):
        return None
    return Finding(
        cause="prior_shift",
        strength=min(1.0, abs(found.z) / (abs(found.z) + _LINE)),
        summary=f"Only the base rate moved: {found.base_rate:.1%} are positive, the scores say {found.mean_score:.1%}.",
        facts=(
            Fact(statement="z of the intercept, between days.", value=found.z, line=_LINE),
            Fact(statement="Shift of the log-odds that would make scores and labels agree.", value=found.shift),
        ),
        curable=True,
        remedy="Recalibrate or move the threshold; training again does that too.",
    )
