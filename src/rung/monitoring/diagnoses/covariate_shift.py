"""The inputs moved away from what the model was trained on, harmless or not."""

from __future__ import annotations

from rung.monitoring.evidence import DIAGNOSES, Evidence
from rung.monitoring.records import Fact, Finding
from rung.monitoring.rules import drifted_columns, performance_fell, performance_sentence

_LINE = 5.0


@DIAGNOSES.member("covariate_shift")
def covariate_shift(evidence: Evidence) -> Finding | None:
    """A classifier tells current rows from reference rows; it is harmful when the labels show a loss."""
    found = evidence.domain
    if found is None or found.z <= _LINE:
        return None
    drifted = sorted(set().union(*(drifted_columns(window) for window in evidence.windows[-1:])))
    columns = tuple(dict.fromkeys([*(evidence.columns[place] for place in found.drivers), *drifted]))
    harmful = performance_fell(evidence.monitor, evidence.performance)
    facts = [
        Fact(statement="AUC of telling current rows from the reference, on stretches held out.", value=found.auc, line=0.5),
        Fact(statement="z of that AUC.", value=found.z, line=_LINE),
    ]
    if evidence.performance and evidence.performance.loss is not None:
        facts.append(
            Fact(statement=performance_sentence(evidence.performance), value=evidence.performance.loss, line=evidence.monitor.allowed_loss)
        )
    effect = "and the model is worse for it" if harmful else "and the labels show no loss beyond what is allowed"
    return Finding(
        cause="covariate_shift",
        strength=min(1.0, 2 * (found.auc - 0.5)) * (1.0 if harmful else 0.5),
        summary=f"The inputs differ from the training rows, most in {', '.join(columns[:3])}, {effect}.",
        facts=tuple(facts),
        columns=columns,
        since=evidence.windows[0].start if evidence.windows else None,
        curable=harmful,
        remedy="Train again with rows like the current ones." if harmful else "Nothing to do; keep watching.",
    )
