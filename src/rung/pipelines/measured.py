"""The metrics among what a step answered, as points of the run that it belongs to."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from rung.pipelines.artifacts import Metrics
from rung.pipelines.items import ITEMS, items_of
from rung.pipelines.materialisers.json import untagged
from rung.pipelines.outputs import return_hint
from rung.pipelines.records import Artifact

_KIND = "metrics"


def metric_points(
    function: Callable[..., Any], outputs: Iterable[Artifact], read: Callable[[Artifact], bytes]
) -> list[tuple[str, int, float]]:
    """Name, step and value of each metric: the step is 0, or in a map the place of the item in the collection."""
    found: list[tuple[str, int, float]] = []
    for artifact in outputs:
        if artifact.kind == _KIND:
            found += _points(read(artifact), 0)
        elif artifact.kind == ITEMS and _names_metrics(return_hint(function)):  # a long list is not read in vain
            for place, parts in enumerate(items_of(read(artifact))):
                found += [point for part in parts if part.kind == _KIND for point in _points(read(part), place)]
    return found


def _points(data: bytes, step: int) -> list[tuple[str, int, float]]:
    return [(name, step, float(value)) for name, value in untagged(msgspec.json.decode(data)).items()]


def _names_metrics(hint: Any) -> bool:
    return (isinstance(hint, type) and issubclass(hint, Metrics)) or any(_names_metrics(part) for part in typing.get_args(hint))
