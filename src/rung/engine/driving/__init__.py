"""Driving: one claimed pipeline run from its plan to its end, a durable state at every step.

Every transaction that changes a run first proves the claim's fence. What has ended is durable before anything that
follows from it begins, and is never run again.
"""

from rung.engine.driving.driver import Driver
from rung.engine.driving.states import LeaseLost, Listener

__all__ = ["Driver", "LeaseLost", "Listener"]
