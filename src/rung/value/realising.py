"""What a retraining really changed: the replaced version replayed on the rows that the new one answered."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from rung.core.errors import Conflict
from rung.core.ids import new_id
from rung.monitoring.sources import ask, model_version
from rung.pipelines.records import ListPipelineRuns
from rung.registry.records import ListVersions, ModelVersion
from rung.storage.scope import Scope
from rung.value import rules
from rung.value.measuring import days, replayed, served, span, threshold_of
from rung.value.records import Decision, Realise, RealisedGain, ValueMatrix


def brought(scope: Scope, decision: Decision) -> ModelVersion:
    """The newest version made by a pipeline run that the decision started. Raises Conflict when there is none."""
    runs = {run.id for run in ask(scope, ListPipelineRuns(limit=1000)).items if run.cause.subject == decision.id}
    for version in ask(scope, ListVersions(model=decision.model, limit=1000)).items:
        if version.pipeline_run_id in runs and version.pipeline_run_id is not None:
            return version
    raise Conflict(
        f"Decision {decision.number} ({decision.action}) has brought no version of {decision.model!r}.",
        code="value.nothing_brought",
        hint="Wait for its pipeline run, or check that a trigger of kind decision starts one.",
    )


def realised(request: Realise, scope: Scope, decision: Decision, matrix: ValueMatrix) -> RealisedGain:
    """The realised gain, not kept yet. Raises Conflict while the new version has no mature rows."""
    as_of = request.as_of or scope.now
    new, old = brought(scope, decision), model_version(scope, decision.model, decision.version)
    inputs = [field.name for field in old.signature.inputs]
    rows = served(scope, decision.deployment, decision.model, decision.as_of, request.end, as_of, columns=inputs).rows
    rows = rows.filter((pl.col("version") == new.number) & pl.col("label").is_not_null())
    if rows.is_empty():
        raise Conflict(
            f"{new.model}:{new.number} has no mature predictions yet.",
            code="value.nothing_matured",
            hint="Ask again when labels have come.",
        )
    label = rows["label"].to_numpy()
    ours = rules.row_values(matrix, rows["score"].to_numpy(), label, threshold_of(new, matrix))
    theirs = rules.row_values(matrix, replayed(scope, old, rows), label, threshold_of(old, matrix))
    gain = rules.block_total(ours - theirs, days(rows))
    start, end = span(rows)
    factor = decision.settings.period_days / max((end - start) / timedelta(days=1), 1.0)
    expected = decision.expected_gain
    return RealisedGain(
        id=new_id(), decision=decision.id, model=decision.model, replaced=old.number, version=new.number, start=start, end=end, as_of=as_of,
        rows=rows.height, gain=gain, per_period=rules.scaled(gain, factor),
        expected_per_period=expected.estimate / decision.horizon_periods if expected else None, improved=gain.low > 0,
        basis=f"{old.model}:{old.number} replayed on {rows.height} matured rows that version {new.number} answered, paired, days as blocks",
        created_at=scope.now,
    )  # fmt: skip
