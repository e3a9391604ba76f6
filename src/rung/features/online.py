"""Features of single keys as of an instant, under the rules of the join, for serving and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from rung.core.clock import from_micros, to_micros
from rung.core.errors import Invalid
from rung.features.asof import Found
from rung.features.records import FeatureRow, FeatureStatus, FeatureValue, ViewRef
from rung.features.sources import Opened, opened
from rung.storage.scope import Scope


def read(scope: Scope, views: Sequence[ViewRef], keys: Sequence[Mapping[str, Any]], as_of: datetime) -> tuple[FeatureRow, ...]:
    """The features of each key as of an instant: online and offline agree, because both are the same join.

    Raises:
        NotFound: a view or its dataset is unknown. Invalid: a key lacks a column, or is of another kind.
    """
    rows = _frame(keys)
    times = np.full(rows.height, to_micros(as_of), dtype=np.int64)
    answers = [_values(item, item.source.at(rows, times)) for item in opened(scope, views)]
    return tuple(FeatureRow(key=dict(key), values=tuple(value for answer in answers for value in answer[i])) for i, key in enumerate(keys))


def _values(item: Opened, found: Found) -> list[list[FeatureValue]]:
    view = item.applied.view
    rows: list[list[FeatureValue]] = [[] for _ in range(len(found.events))]
    for feature, column in zip(view.features, found.columns, strict=True):
        for i, value in enumerate(column.to_list()):
            at, status = None, _windowed(value)
            if feature.aggregate is None:
                at = from_micros(int(found.events[i])) if found.present[i] or found.expired[i] else None
                status = "present" if found.present[i] else "expired" if found.expired[i] else "missing"
            rows[i].append(FeatureValue(name=feature.name, value=value, event_time=at, status=status))
    return rows


def _windowed(value: object) -> FeatureStatus:
    return "missing" if value is None else "present"


def _frame(keys: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    try:
        return pl.DataFrame([dict(key) for key in keys], infer_schema_length=None)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise Invalid(
            f"The keys are not of one kind: {error}.", code="features.key_type", hint="Give every key the same columns and types."
        ) from None
