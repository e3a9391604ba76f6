"""Routing policies, one file each: which share of requests each arm of a deployment has."""

from rung.serving.routing.family import ROUTING, Policy, Router, router_of

__all__ = ["ROUTING", "Policy", "Router", "router_of"]
