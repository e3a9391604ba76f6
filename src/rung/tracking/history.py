"""Reading a metric's points: whole where it is short or asked for, from summaries where it is long."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from rung.core.errors import Invalid
from rung.tracking.chunks import Points, decoded, joined, ordered, thinned
from rung.tracking.store.points import PointStore

_WHOLE = 32  # chunks read in full even though a summary would do: about 130,000 points


def read_points(store: PointStore, series: int, limit: int, first: int | None = None, last: int | None = None) -> tuple[Points, int]:
    """About ``limit`` points of a series between two steps, by step and instant, and how many there are."""
    summaries = store.chunks(series, data=False, first=first, last=last)
    tail = store.tail(series, first, last)
    total = len(tail) + sum(row[2] for row in summaries)
    if total <= limit or len(summaries) <= _WHOLE or not _apart(summaries, tail):
        found = whole(store, series, first, last)
        return thinned(found, limit), len(found)
    parts = [decoded(row[3]) for row in summaries]
    found = _between(joined([*parts, tail]), first, last)
    return thinned(found, limit), total


def whole(store: PointStore, series: int, first: int | None = None, last: int | None = None, *, by_instant: bool = False) -> Points:
    """Every point of a series between two steps, each once."""
    parts = [decoded(row[3]) for row in store.chunks(series, data=True, first=first, last=last)]
    return ordered(_between(joined([*parts, store.tail(series, first, last)]), first, last), by_instant=by_instant)


def page_of(store: PointStore, series: int, limit: int, after: str | None) -> tuple[Points, str | None]:
    """A page of all points by instant, step and value, and the mark of the next one. Raises Invalid for a bad mark."""
    found = whole(store, series, by_instant=True)
    start = 0
    if after is not None:
        at, step, value = _unmarked(after)
        # NaN sorts after every number, so nothing of the same step follows it.
        later = np.zeros(len(found), dtype=bool) if value is None else np.isnan(found.values) | (found.values > value)
        beyond = (found.ats > at) | ((found.ats == at) & ((found.steps > step) | ((found.steps == step) & later)))
        start = int(np.argmax(beyond)) if beyond.any() else len(found)
    page = found.taken(slice(start, start + limit))
    if start + limit >= len(found):
        return page, None
    last = float(page.values[-1])
    mark = msgspec.json.encode([int(page.ats[-1]), int(page.steps[-1]), None if np.isnan(last) else last]).decode()
    return page, mark


def _unmarked(after: str) -> tuple[int, int, float | None]:
    try:
        return msgspec.json.decode(after, type=tuple[int, int, float | None])
    except (msgspec.ValidationError, msgspec.DecodeError):
        raise Invalid(
            f"{after[:60]!r} is not the mark of a page.", code="tracking.bad_page", hint="Pass the `next` of the page before."
        ) from None


def _apart(chunks: list[Any], tail: Points) -> bool:
    """Whether chunks and tail follow each other by step, so that they need no merging."""
    follows = all(b[0] >= a[1] for a, b in pairwise(chunks))
    return follows and (not len(tail) or int(tail.steps[0]) >= chunks[-1][1])


def _between(points: Points, first: int | None, last: int | None) -> Points:
    if first is not None:
        points = points.taken(points.steps >= first)
    if last is not None:
        points = points.taken(points.steps <= last)
    return points
