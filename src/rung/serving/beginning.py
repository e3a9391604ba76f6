"""The beginning of a rollout: its plan is checked before the first request goes to the canary."""

from __future__ import annotations

from rung.core.ids import new_id
from rung.serving import rollout_records as r
from rung.serving.gates import ROLLOUT_GATES
from rung.serving.options import RolloutPlan
from rung.serving.records import Revision
from rung.serving.rollout_store import RolloutStore
from rung.storage.scope import Scope


def begun(scope: Scope, revision: Revision, plan: RolloutPlan) -> r.Rollout:
    """The rollout that a revision with a growing canary begins. Raises NotFound, Invalid for a gate or setting that is unknown."""
    for name, settings in plan.gates.items():
        ROLLOUT_GATES.get(name).checked(settings)
    canary = next(route for route in revision.routes if route.arm == "canary")
    rollout = r.Rollout(
        id=new_id(), deployment=revision.deployment, model=canary.model, number=canary.number, plan=plan, state="growing", step=0,
        share=canary.share, first_revision=revision.number, step_revision=revision.number, revision=revision.number,
        started_at=scope.now, step_at=scope.now, changed_at=scope.now,
    )  # fmt: skip
    RolloutStore(scope.connection, scope.project).save(rollout)
    return rollout
