"""Rollout gates, one file each: what a canary must keep to before it grows."""

from rung.serving.gates.family import ROLLOUT_GATES, ArmSeen, Look, RolloutGate

__all__ = ["ROLLOUT_GATES", "ArmSeen", "Look", "RolloutGate"]
