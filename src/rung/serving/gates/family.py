"""What a rollout gate is: settings, and a finding about a canary beside the stable version.

A gate fails a canary only beyond its limit and beyond chance, at the error the look may spend; it passes one only on enough
rows. In between it has insufficient evidence, which never counts as passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.core.families import Family
from rung.core.records import Record, decoded
from rung.serving.rollout_records import GateFinding, Outcome

Floats = NDArray[np.float64]
PASS_ALPHA = 0.05  # one-sided error of the bound by which a gate passes


@dataclass(frozen=True)
class ArmSeen:
    """What one version has shown since the canary began.

    ``scores`` shape (n,), one a row. ``times_ms`` milliseconds a row took, one a request. ``labels`` and ``label_scores`` shape
    (m,): labels that have arrived, with the scores they belong to.
    """

    rows: int
    errors: int
    scores: Floats
    times_ms: Floats
    labels: Floats = field(default_factory=lambda: np.empty(0))
    label_scores: Floats = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Look:
    """Canary and stable version side by side; ``alpha`` is the error by which a gate may fail the canary."""

    canary: ArmSeen
    stable: ArmSeen
    alpha: float


@dataclass(frozen=True)
class RolloutGate:
    """A member: its settings and its finding."""

    settings: type[Record]
    judge: Callable[[Look, Any], GateFinding]

    def checked(self, settings: Mapping[str, Any]) -> Record:
        """The settings as the gate's record. Raises Invalid, naming the field."""
        return decoded(dict(settings), self.settings)


def told(*, failed: bool, passed: bool) -> Outcome:
    """The outcome in a word; what is neither lacks evidence."""
    return "failed" if failed else "passed" if passed else "insufficient"


ROLLOUT_GATES: Family[RolloutGate] = Family("rollout_gates", "rung.serving.gates")
