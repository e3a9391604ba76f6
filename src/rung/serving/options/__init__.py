"""How a deployment answers: what each revision says beside its versions and shares. One file a concern."""

from rung.serving.options.all import DeploymentOptions
from rung.serving.options.graph import GraphNode, GraphOptions
from rung.serving.options.limits import LimitOptions
from rung.serving.options.logging import LogOptions
from rung.serving.options.routing import RolloutPlan, RoutingOptions
from rung.serving.options.runtime import RuntimeOptions

__all__ = [
    "DeploymentOptions",
    "GraphNode",
    "GraphOptions",
    "LimitOptions",
    "LogOptions",
    "RolloutPlan",
    "RoutingOptions",
    "RuntimeOptions",
]
