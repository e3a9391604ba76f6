"""Every option of a deployment's revision."""

from __future__ import annotations

from rung.core.records import Record
from rung.serving.options.graph import GraphOptions
from rung.serving.options.limits import LimitOptions
from rung.serving.options.logging import LogOptions
from rung.serving.options.routing import RolloutPlan, RoutingOptions
from rung.serving.options.runtime import RuntimeOptions


class DeploymentOptions(Record):
    """How a deployment answers; kept with each revision, so that a rollback returns to it too."""

    routing: RoutingOptions = RoutingOptions()
    rollout: RolloutPlan | None = None
    graph: GraphOptions | None = None
    logging: LogOptions = LogOptions()
    limits: LimitOptions = LimitOptions()
    runtime: RuntimeOptions = RuntimeOptions()
