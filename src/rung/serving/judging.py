"""What a canary has shown: rows, errors, time and scores of both arms, from the log."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rung.serving import predictions
from rung.serving.frames import unpacked
from rung.serving.log import log_folder, payloads, segments
from rung.serving.records import Route
from rung.storage.scope import Scope

Floats = NDArray[np.float64]


def observed(scope: Scope, deployment: str, trial: Route, *, since_revision: int) -> dict[str, Any]:
    """Figures that ``rules.judged`` asks for, over answers of revisions from ``since_revision`` on."""
    frame = predictions.read(scope, deployment, columns=[]).filter(pl.col("revision") >= since_revision)
    of_trial = (frame["arm"] == trial.arm) & (frame["version"] == trial.number) & (frame["model"] == trial.model)
    canary, stable = frame.filter(of_trial)["score"].to_numpy(), frame.filter(frame["arm"] == "stable")["score"].to_numpy()
    errors, spent = 0, {True: [0, 0], False: [0, 0]}
    for path in segments(log_folder(scope.home, scope.project)):
        for payload in payloads(path) or ():
            batch = unpacked(payload)
            if batch.deployment != deployment or batch.revision < since_revision:
                continue
            mine = batch.arm == trial.arm and batch.number == trial.number
            errors += batch.errors if mine else 0
            spent[mine][0] += batch.elapsed_us
            spent[mine][1] += batch.rows
    return {
        "canary_rows": int(canary.size),
        "stable_rows": int(stable.size),
        "canary_errors": errors,
        "score_distance": distance(stable, canary),
        "slowdown": _per_row(spent[True]) / _per_row(spent[False]) if spent[True][1] and _per_row(spent[False]) else float("nan"),
    }


def distance(one: Floats, other: Floats) -> float:
    """Largest difference of the two empirical distribution functions; not a number when a side is empty."""
    if not one.size or not other.size:
        return float("nan")
    points = np.concatenate([one, other])
    left = np.searchsorted(np.sort(one), points, side="right") / one.size
    right = np.searchsorted(np.sort(other), points, side="right") / other.size
    return float(np.abs(left - right).max())


def _per_row(spent: list[int]) -> float:
    return spent[0] / spent[1] if spent[1] else 0.0
