"""Questions about any period: realised performance between bounds, and how long labels take."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import numpy as np

from rung.monitoring import labels as truth
from rung.monitoring import sources
from rung.monitoring.performance import measured
from rung.monitoring.records import LabelDelay, Monitor, Performance
from rung.monitoring.rules import is_final
from rung.monitoring.running import served, serving_version, standard_of
from rung.storage.scope import Scope

_SHARES = (0.1, 0.5, 0.9, 0.99)


def performance(scope: Scope, monitor: Monitor, bounds: tuple[datetime, ...], as_of: datetime) -> tuple[Performance, ...]:
    """Realised performance between consecutive bounds, each held against the evaluation of the version that served most."""
    rows = served(scope, monitor, bounds[0], bounds[-1], as_of)
    found = []
    for start, end in pairwise(bounds):
        frame = rows.between(start, end)
        if frame.is_empty():
            found.append(
                Performance(
                    start=start,
                    end=end,
                    as_of=as_of,
                    rows=0,
                    labelled=0,
                    labelled_share=0.0,
                    metric=monitor.metric,
                    final=is_final(monitor, end, as_of),
                )
            )
            continue
        version = serving_version(scope, frame)
        standard = standard_of(scope, monitor, version)
        final = is_final(monitor, end, as_of)
        found.append(measured(frame, standard, version.model, version.number, start=start, end=end, as_of=as_of, final=final))
    return tuple(found)


def label_delay(scope: Scope, deployment: str, as_of: datetime) -> LabelDelay:
    """Quantiles of arrival minus prediction, over the labels known at ``as_of``."""
    predictions = sources.answered(scope, deployment, None, as_of, columns=[])
    known = truth.known(scope, deployment, as_of).select("prediction_id", "arrived_at")
    met = predictions.select("prediction_id", "event_time").join(known, on="prediction_id")
    ages = (met["arrived_at"] - met["event_time"]).dt.total_microseconds().to_numpy() / 1e6
    quantiles = np.quantile(ages, _SHARES) if ages.size else np.zeros(len(_SHARES))
    return LabelDelay(
        deployment=deployment,
        rows=len(predictions),
        labelled=len(met),
        quantiles_s={f"{share:g}": float(value) for share, value in zip(_SHARES, quantiles, strict=True)},
        horizon_s=float(quantiles[-1]),
    )
