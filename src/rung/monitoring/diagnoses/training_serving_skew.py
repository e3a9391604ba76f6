"""Serving does not do what the registered model does: another file, another preprocessing, a stale process."""

from __future__ import annotations

import numpy as np

from rung.monitoring.evidence import DIAGNOSES, Evidence
from rung.monitoring.records import Fact, Finding

_TOLERANCE = 1e-6
_LINE = 0.01
_FEWEST = 50


@DIAGNOSES.member("training_serving_skew")
def training_serving_skew(evidence: Evidence) -> Finding | None:
    """Over 1 % of logged rows get another score when the registered model scores them again."""
    replay = evidence.replay
    if replay is None or replay.logged.size < _FEWEST:
        return None
    share = float(np.mean(~(np.abs(replay.logged - replay.again) <= _TOLERANCE)))
    if share <= _LINE:
        return None
    fact = Fact(
        statement=f"{share:.1%} of {replay.logged.size} logged rows score otherwise with the registered model.", value=share, line=_LINE
    )
    return Finding(
        cause="training_serving_skew",
        strength=min(1.0, share),
        summary=f"The endpoint answers otherwise than the registered model on {share:.1%} of the rows.",
        facts=(fact,),
        remedy="Find out which file or preprocessing the endpoint uses and deploy the registered version again; retraining would not help.",
    )
